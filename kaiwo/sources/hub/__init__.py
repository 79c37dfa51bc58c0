"""The Hugging Face Hub, and its cache.

    source    the files of one repository, from the Hub or a mirror
    cache     the same from the Hub's cache, when no request may be sent
    xet       the Hub's own transfer, by hf_xet

All other modules are internal.
"""
