"""Backups: one engine-neutral archive of a database and its blobs, written while others write, restored, verified."""
