"""Paths and the disk."""
