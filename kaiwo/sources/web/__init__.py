"""Files of web servers.

    source    the files below one address, over http and https
    options   what a user may give for them

All other modules are internal.
"""
