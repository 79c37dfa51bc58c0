"""Functions that run in an executor: they take a job and return its outcomes."""
