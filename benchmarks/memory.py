"""Peak memory of whole processes: each case runs in a fresh one, and is compared with it right after `import torch`.

On a GPU the peak is what torch allocated there, beyond the inputs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import torch

from measure import photograph, show
from omniup.evaluation.measuring import resident, synchronise

CASES = {
    "paper": ("paper", 224, 16, 384, "≤ 250 MB"),
    "large": ("paper", 1024, 256, 224, "≤ 512 MB of scratch"),
    "spec": ("spec", 1024, 256, 224, "≤ 512 MB of scratch"),
}


def main() -> None:
    """Run each case in a process of its own, then print the table; or, given one, run that."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--case", choices=CASES, help="run one case and print its numbers as JSON")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.case:
        print(json.dumps(measure(arguments.case, device)))
        return
    rows = []
    for case, (preset, side, cells, channels, reach) in CASES.items():
        command = [sys.executable, __file__, "--case", case, "--device", arguments.device]
        numbers = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        scratch = numbers["peak"] - numbers["inputs and result"]
        rows.append(
            [
                f"{preset}: {side}×{side}, {cells}×{cells} grid, {channels} channels, fit + render",
                f"{numbers['seconds']:.2f} s",
                f"{numbers['processor seconds']:.2f} s",
                *(f"{amount:.0f} MB" for amount in (numbers["peak"], numbers["inputs and result"], scratch)),
                reach,
            ]
        )
    header = [
        *("what", "time, cold", "processor time"),
        *("peak above import torch", "of it inputs and result", "rest", "to reach"),
    ]
    show("Memory, with `memory` at its default of 512 MB", header, rows, device)


def measure(case: str, device: torch.device) -> dict[str, float]:
    """Fit and render, once, in this process."""
    before = resident("VmRSS")
    preset, side, cells, channels, _ = CASES[case]
    from omniup import UpsampleAnything

    image = photograph(side, side, device)
    features = torch.randn(1, channels, cells, cells, device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began, began_processor = time.perf_counter(), time.process_time()
    result = UpsampleAnything.preset(preset).prepare(image, (cells, cells)).render(features)
    synchronise(device)
    taken, processor = time.perf_counter() - began, time.process_time() - began_processor
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else resident("VmHWM") - before
    tensors = sum(tensor.nbytes for tensor in (image, features, result)) / 2**20
    return {"seconds": taken, "processor seconds": processor, "peak": peak, "inputs and result": tensors}


if __name__ == "__main__":
    main()
