"""Jobs that run in other processes, and on other machines, by an executor of somebody else.

    scheduler ─ job ─> carrier ─ call ─> executor ─ call ─> site ─ job ─> worker function
        ▲                 ▲ └─────────── meeting folder ──────┘ ▲
        └── outcome ──────┴──────────────── answer ─────────────┘

carrier    the executor that the scheduler is given: sends jobs to other processes
calls      what goes there and back
faults     what it means that something does not come back
site       what a worker process has of a run
turns      which of its jobs read now
saying     what it says to the run besides the outcomes of jobs
meeting    the folder in the download root where a run and its sites meet
places     where calls go: any executor
silence    who has said nothing for long
cluster    the same, of Dask; only who uses it loads it
reaching   the client of a cluster, once its scheduler is reached
watching   which workers a cluster has, as they come and go
probing    which of them can be used
own_thread where one of them does a call

See docs/decisions/0058.
"""
