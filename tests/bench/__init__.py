"""The same work, in turn and several times, for kaiwo and for the tools that people use instead.

    python -m tests.bench

`loads` says what the work is and what is wanted of kaiwo, `orders` what a tool is asked for,
`tools` and `peers` by which commands; `buckets` makes the bytes, `nginx` serves them, `meter` takes
the time, `results` keeps what came out.
"""
