"""Everything that is decided before the first byte.

gather        list all wants at once
plan          draft a plan; close it once its targets are claimed
decision      what a run would do, for a plan that is shown
prune         what may be removed
snapshots     folders whose files change all at once
case_folding  names that some file systems treat as equal
free_space    is there space for a plan?

The other modules are planning's own business.
"""
