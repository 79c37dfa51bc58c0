"""What a program calls, and the wiring of the floors below.

download   ``kaiwo.download``: everything that a configuration asks for
fetch      ``kaiwo.fetch``: one URL, without a file
run        a run, from validated tasks to a report
"""
