"""The container image: `python -m tests.image` builds it and runs it against the local servers."""
