"""What kaiwo and its peers do when the store misbehaves; see docs/reliability.md.

catalogue   the faults, and the objects that are fetched
runs        one tool against one fault
page        the results as a table of the document
"""
