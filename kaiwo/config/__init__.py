"""YAML, environment, options and URLs become validated tasks and settings."""
