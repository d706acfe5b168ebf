"""Starts the demo: `python app.py`, then http://127.0.0.1:8000; `python app.py --help` lists the options."""

import sys

from omniup.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
