"""``python -m wherry``: the command line."""

from wherry.cli import main

main()
