"""What kaiwo and its peers do when the store misbehaves; see docs/reliability.md.

catalogue    the faults, and the objects that are fetched
runs         one tool against one fault
behaviour    how a store behaves
stores       the stores that behave unusually
store_runs   one tool against one of these
page         the results as the tables of the document
"""
