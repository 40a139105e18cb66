"""`python -m mdserver`: the command line."""

from mdserver.cli import main  # by its whole name: the single-file executable starts here, outside of the package

main()
