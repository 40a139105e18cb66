"""The real clients of live editing, from npm, driven by tests."""
