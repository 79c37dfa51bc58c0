"""Several processes carry out one plan, each its shard of it, without talking to each other.

split         which bytes are whose
objects       what a plan says of each object
plan_file     the plan that all of them follow: written by the first, read by the others
results       how each shard ended
finished      plans that no shard follows any more
trust         whether several writers into one file can be trusted there
"""
