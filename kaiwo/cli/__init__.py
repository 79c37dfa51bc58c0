"""The commands, and the process around them: signals, logs, exit codes."""
