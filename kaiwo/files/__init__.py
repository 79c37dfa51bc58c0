"""Paths and the disk.

names            which names no file may get
placement        where an object goes
paths            containment, links, collisions, regular files
folders          folders below a root, opened one by one
kept_folders     those that stay open while a run lasts
modes            who may write a file, and from when on
temporary_files  the bytes of an object, beside its target
inherited_files  those that other runs have written
publish          the rename that makes a file visible
second_names     links, clones and copies of a file
generations      of a folder, of which a rename makes the next one the newest
renames          a rename whose answer may be lost
hashing          checksums of files
repeat           calls that fail in a way that passes
documents        small files for other programs, replaced whole
disk_errors      what the file system refuses, as an error with a hint
memory_limit     the memory that this process may use
process_limits   how many requests its other limits allow
new_threads      threads that start while the program may be interrupted
"""
