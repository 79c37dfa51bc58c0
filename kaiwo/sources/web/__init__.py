"""Files of web servers.

    source    the files below one address, over http and https

All other modules are internal.
"""
