"""From a plan to a report: one thread owns the state, an executor does the work."""
