"""Sync: what a device is told of all that changed, and what it brings. Many workspaces, many nouns, one log each."""
