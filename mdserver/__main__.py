"""`python -m mdserver`: the command line."""

from .cli import main

main()
