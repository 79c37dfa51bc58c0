"""HTTP below the sources: failures, statuses, settings, addresses."""
