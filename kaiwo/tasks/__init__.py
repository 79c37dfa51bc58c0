"""What a user may write: one file for each task type."""
