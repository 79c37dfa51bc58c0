"""The lock file: which objects a configuration had, so that a later run gets exactly these.

lock_file     its format
locked        a lock as a listing; a listing as a lock
differences   what is there now, beside what a lock has
pinning       asks stores for what pins each object
"""
