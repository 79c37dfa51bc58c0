"""Stores that behave in their own ways: the right bytes come, or the right words."""
