"""Run every benchmark, one after the other, each in a process of its own; arguments are handed on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    *("upsample_anything", "features", "measurements", "anyup", "memory", "processes", "scaling"),
    *("training", "restoration_training", "web"),
)
for script in SCRIPTS:
    subprocess.run([sys.executable, Path(__file__).with_name(f"{script}.py"), *sys.argv[1:]], check=True)
