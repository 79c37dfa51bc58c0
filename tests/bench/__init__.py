"""The same work, in turn and several times, for kaiwo and for the tools that people use instead.

    python -m tests.bench

`loads` says what the work is and what is wanted of kaiwo, `tools` how each tool is asked for it,
`buckets` makes the bytes, `nginx` serves them, `meter` takes the time, `results` keeps what came
out.
"""
