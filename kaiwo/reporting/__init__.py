"""What a run shows: counters, displays, log lines, reports, metrics."""
