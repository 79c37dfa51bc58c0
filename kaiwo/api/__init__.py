"""What a program calls, and the wiring of the floors below.

download     ``kaiwo.download``: everything that a configuration asks for
fetch        ``kaiwo.fetch``: one URL, without a file
fetch_order  URLs as one order
orders       from validated tasks to an order
run          a run, from an order to a report
"""
