"""Yjs without I/O: offsets, smallest edits, first states. Floor 0."""
