"""What a program calls, and the wiring of the floors below.

again         the order for URLs, made again on another machine
download      ``kaiwo.download``: everything that a configuration asks for
fetch         ``kaiwo.fetch``: URLs, without a file
filesystem    ``kaiwo::`` before a URL of fsspec: whole files, from a cache folder
fetch_fields  what is wrong with the fields that ``kaiwo.fetch`` is given
fetch_order   URLs as one order
locking       locks: written, and compared with what is there
verification  what is on the disk, hashed
orders        from validated tasks to an order
report        the report that ``kaiwo.download`` returns
run           a run, from an order to a report
"""
