"""Serve the web demo on this machine: FastAPI behind, plain HTML, CSS and JavaScript before.

serve(host="127.0.0.1", port=8000)
"""

from omniup.web.app import create_app
from omniup.web.server import serve
from omniup.web.settings import Settings

__all__ = ["Settings", "create_app", "serve"]
