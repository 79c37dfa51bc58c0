"""What a program calls.

download    download: everything that a configuration asks for
fetch       fetch: one URL
run         run, decide: from a validated configuration to a report or a plan
"""
