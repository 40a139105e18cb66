"""Live editing: what several people write in one document at once."""
