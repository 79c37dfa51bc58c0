"""The Hugging Face Hub, and its cache.

    source    the files of one repository, from the Hub or a mirror
    cache     the same from the Hub's cache, when no request may be sent
    tokens    the token that a task does not name, and who may get it
    xet       the Hub's own transfer, by hf_xet

All other modules are internal.
"""
