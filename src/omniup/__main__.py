"""`python -m omniup` is the command `omniup`."""

from omniup.cli import main

main()
