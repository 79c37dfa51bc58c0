"""A process around a command: options, signals, log lines, exit code.

    app          the commands
    plain_help   PlainCommand: a command whose help has no syntax of templates
    process      run_and_leave, guarded: a command as a process, errors as exit codes
    bootstrap    begin: the first thing that a process does

``commands``, ``signals`` and ``logs`` are the package's own business.
"""
