"""Check and measure OmniUp on a CUDA machine, in one run of at most six minutes.

Results are compared with a CPU's, for all methods and signal types, for AnyUp, HYPIR's tiny model and a step of
training; times and peak memory are put beside what others have published; results of more than 2³¹ values are compared
with single pixels of them. Each part runs in a process of its own, for as long as its budget; one that fails, or runs
out of time, is reported, and the others go on. The exit status is 1 if anything is not as it should be.

On a CPU, `--device cpu`, the same parts run in small: a rehearsal.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from measure import machine, show
from omniup_bench.gpu import large, parity, times
from omniup_bench.gpu.inputs import Sizes
from omniup_bench.gpu.rows import Check, Row, rows_of


@dataclasses.dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        title: of its table.
        checks: what it checks on a device.
        seconds: its budget, from the start of its process to its end.
    """

    title: str
    checks: Callable[[torch.device, Sizes], Iterator[Check]]
    seconds: float


PARTS = {
    "methods": Part("Difference from the CPU: methods and signal types", parity.methods_and_types, 90),
    "networks": Part("Difference from the CPU: networks", parity.networks, 80),
    "times": Part("Time and memory, 384 channels, beside what is published on other GPUs", times.features, 100),
    "large": Part("Results of more than 2³¹ values, against single pixels", large.features, 85),
}


def main() -> int:
    """Run the parts, print their tables, and return the exit status; or run one part in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda; cpu for a rehearsal")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which; by default all")
    parser.add_argument("--out", type=Path, help="a JSON file for what is found")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # of the one part that this process is for
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was checked (--device cpu rehearses the parts)", file=sys.stderr)
        return 1
    if arguments.rows:
        write_rows(PARTS[arguments.parts[0]], device, arguments.rows)
        return 0
    found = {name: run_part(name, device) for name in arguments.parts}
    for name, rows in found.items():
        lines = [[row.what, row.found, row.wanted, verdict(row)] for row in rows]
        show(PARTS[name].title, ["what", "found", "to reach, or published", ""], lines, device)
    failed = sum(row.passed is False for rows in found.values() for row in rows)
    print(f"{failed} of {sum(map(len, found.values()))} rows are not as they should be")
    if arguments.out:
        parts = {name: [dataclasses.asdict(row) for row in rows] for name, rows in found.items()}
        text = json.dumps({"machine": machine(device), "device": str(device), "parts": parts}, indent=1)
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return int(failed > 0)


def run_part(name: str, device: torch.device, seconds: float | None = None) -> list[Row]:
    """Run a part in a process of its own, for `seconds` or its budget: the rows that it has found by then."""
    budget = PARTS[name].seconds if seconds is None else seconds
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows")
        command = [sys.executable, __file__, "--device", str(device), "--parts", name, "--rows", str(file)]
        try:
            status = subprocess.run(command, check=False, timeout=budget).returncode
            failure = f"ended with status {status}" if status else ""
        except subprocess.TimeoutExpired:
            failure = f"not done in {budget:g} s"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = [Row(**json.loads(line)) for line in lines]
    return [*rows, Row(f"the part {name}", failure, "done", passed=False)] if failure else rows


def write_rows(part: Part, device: torch.device, file: Path) -> None:
    """Run a part in this process, and write each row as it is found."""
    torch.backends.cudnn.allow_tf32 = False
    with file.open("w", encoding="utf-8") as lines:
        for row in rows_of(part.checks(device, Sizes.of(device))):
            lines.write(json.dumps(dataclasses.asdict(row)) + "\n")
            lines.flush()


def verdict(row: Row) -> str:
    """Say whether a row is as it should be."""
    return "" if row.passed is None else "yes" if row.passed else "NO"


if __name__ == "__main__":
    sys.exit(main())
