"""What operators have done by the command line: the same functions inside a running server and without one. Floor 5."""
