"""Run the command `omniup` as `python -m omniup`."""

from omniup.cli import main

main()
