"""One plan on many disks: every part leaves the store once, and nodes have the rest of each other.

    engine ─ read ─> shared source ─┬─ its own blocks ──> store
                                    └─ blocks of others ─> peer ─ ask ─> serving ─> shelf

Each node carries out the whole plan by itself, as any run does. Only where bytes come from is
different.

blocks     what is divided among the nodes, and who owns which part
members    which nodes there are, and which of them answer
shelf      what this node has, and can give to others
stored     the same, in files: is it as it came?
proving    hashes what was in place before
memory     blocks that were in use lately
demands    what others ask for before the run comes to it
news       who waits for a block
node       what a node knows of a run; who brings a block
sharing    a source that shares what it reads
reading    asks the owner of a block, or the store
passing    the checksum of a small object, as it passes
peers      asks another node; only who uses Dask loads it
seats      the runs that this worker is a node of, and whether they go on
serving    answers other nodes, and the run; only who uses Dask loads it
calls      what goes to a node, and what it says
seen       a node, as the client of its run sees it
nodes      the nodes of a run, as its client sees them; only who uses Dask loads it

See docs/decisions/0059.
"""
