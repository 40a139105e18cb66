"""Nouns: each file holds a noun's types, its SQL and its rules. Floor 2."""
