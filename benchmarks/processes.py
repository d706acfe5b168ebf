"""Whole processes: a mask for a photograph of 12 megapixels, and how long commands take beyond `import torch`.

Times are processor time, so that other processes count little: medians of a few fresh processes.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from measure import show
from omniup.evaluation.measuring import cost

TURNS = 5
PYTHON = [sys.executable]
OMNIUP = [*PYTHON, "-m", "omniup"]

#: Whether commands import torch, and how many seconds they may take without that.
STARTS = {"info": (True, 0.3), "methods": (False, 0.4), "--help": (False, 0.4), "--version": (False, 0.4)}
COMMANDS = {name: [*OMNIUP, name] for name in STARTS}


def main() -> None:
    """Print both tables; or, asked for the mask, measure that in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu; others are not measured")
    parser.add_argument("--mask", action="store_true", help="render the mask and print its cost as JSON")
    if parser.parse_args().mask:
        print(json.dumps(mask()))
        return
    device = torch.device("cpu")
    found = [json.loads(subprocess.check_output([*PYTHON, __file__, "--mask"])) for _ in range(TURNS)]
    seconds, peak = (statistics.median(each[name] for each in found) for name in ("seconds", "peak"))
    what = "boolean mask 188×250 to 3000×4000, default method"
    header = ["what", "processor time", "to reach", "peak above imports and image", "to reach"]
    show("A mask of 12 megapixels", header, [[what, f"{seconds:.1f} s", "≤ 5 s", f"{peak:.0f} MB", "≤ 500 MB"]], device)
    show_starts(device)


def show_starts(device: torch.device) -> None:
    """Print how long commands take, started in turns."""
    turns = [[spent([*PYTHON, "-c", "import torch"]), serve(), *map(spent, COMMANDS.values())] for _ in range(TURNS)]
    imported, *others = zip(*turns, strict=True)
    rows = [["import torch", f"{statistics.median(imported):.2f} s", "", ""]]
    names = {"serve, to its address": (True, 1.0)} | {name: STARTS[name] for name in COMMANDS}
    for (name, (with_torch, reach)), times in zip(names.items(), others, strict=True):
        beyond = [a - b if with_torch else a for a, b in zip(times, imported, strict=True)]
        total, rest = f"{statistics.median(times):.2f} s", f"{statistics.median(beyond):.2f} s"
        rows.append([f"omniup {name}", total, rest, f"≤ {reach} s"])
    show("Cold processes", ["what", "processor time", "beyond import torch", "to reach"], rows, device)


def mask() -> dict[str, float]:
    """Render a mask of blobs for a large photograph, once."""
    import omniup
    from omniup.files import sample_image

    image = sample_image("coffee").resize((4000, 3000))
    blobs = torch.randn(1, 1, 12, 16, generator=torch.Generator().manual_seed(0))
    signal = torch.nn.functional.interpolate(blobs, (188, 250), mode="bicubic") > 0
    omniup.upsample(image.resize((64, 48)), signal[..., :3, :4])  # imports
    gc.collect()
    began = time.process_time()
    with cost(torch.device("cpu")) as found:
        omniup.upsample(image, signal)
    return {"seconds": time.process_time() - began, "peak": (found.peak_bytes or 0) / 2**20}


def spent(command: Sequence[str]) -> float:
    """Run a command to its end, and return its processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def serve() -> float:
    """Start the server, and return its processor time when it prints its address (Linux)."""
    with subprocess.Popen([*OMNIUP, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "OmniUp is at" not in (line := process.stderr.readline()):
            if not line:
                raise RuntimeError("the server ended before it printed its address")
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        process.terminate()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
