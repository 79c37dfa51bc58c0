"""What a run shows: on the terminal, in the log, in its report and in its metrics.

    displays      the sink for a ``--progress`` value: bar, log lines, JSON lines or nothing
    outputs       what is written when a run ends: report, termination message, metrics
    json_report   the JSON of a report
    plan_text     a plan for people
    plan_json     a plan for programs
    object_list   what a listing found
    lock_text     what differs from a lock; what a verification found
    log_lines     the log lines of events; the text of a failure

The other modules are the package's own business.
"""
