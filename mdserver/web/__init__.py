"""HTTP: one file per resource, which only reads requests and writes answers. Floor 4."""
