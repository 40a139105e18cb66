"""Our speed beside others': `python -m tests.bench` measures, prints a table, and judges nothing."""
