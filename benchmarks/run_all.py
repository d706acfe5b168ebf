"""Run every benchmark, one after the other, each in a process of its own; arguments are handed on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

for script in (
    "upsample_anything.py",
    "anyup.py",
    "memory.py",
    "scaling.py",
    "training.py",
    "restoration_training.py",
    "web.py",
):
    subprocess.run([sys.executable, Path(__file__).with_name(script), *sys.argv[1:]], check=True)
