"""Write the listing of the methods that `omniup methods` shows: `python tools/list_methods.py`."""

import json

from omniup.cli.about import LISTING, registered

LISTING.write_text(json.dumps(registered(), indent=1) + "\n", "utf-8")
