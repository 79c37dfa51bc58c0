"""Files of the web."""
