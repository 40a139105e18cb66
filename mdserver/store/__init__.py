"""The database engines, migrations and blobs. Floor 1."""
