"""One plan on many disks: every part leaves the store once, and nodes have the rest of each other.

    engine ─ read ─> shared source ─┬─ its own blocks ──> store
                                    └─ blocks of others ─> peer ─ ask ─> serving ─> shelf

Each node carries out the whole plan by itself, as any run does. Only where bytes come from is
different.

blocks     what is divided among the nodes, and who owns which part
members    which nodes there are, and which of them answer
shelf      what this node has, and can give to others
node       what a node knows of a run; who brings a block
sharing    a source that asks the owner of a block
peers      asks another node; only who uses Dask loads it
serving    answers other nodes, and the run; the same
calls      what goes to a node, and what it says

See docs/decisions/0059.
"""
