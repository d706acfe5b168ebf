"""Measure how much memory corrupted files take to read, in a process of its own: `python -m support.peaks COUNT`.

Prints, as JSON, the megabytes of each kind of file: of reading COUNT files in a child that has read nothing else, so
that no memory is there that earlier files have left.
"""

import json
import os
import sys
from pathlib import Path

from omniup.files import read_guidance, read_image, read_labels, read_orientation, read_signal, read_stored
from support.corruption import corrupted
from support.small_files import small_files

READERS = (read_image, read_guidance, read_signal, read_labels, read_stored, read_orientation)


def resident(*, reset: bool = False) -> float:
    """Read the peak of this process's memory in MB, or with `reset` what it is now, from where peaks count anew."""
    status = Path("/proc/self/status")
    if not status.exists():  # memory is measured on Linux only
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _read_all(contents: list[bytes]) -> float:
    before = resident(reset=True)
    for content in contents:
        for reader in READERS:
            try:
                reader(content)
            except Exception:  # the tests of refusals look at these
                continue
    return resident() - before


def _in_a_child(contents: list[bytes]) -> float:
    receive, send = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(send, str(_read_all(contents)).encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return float(said)  # fails where the child did not get to its end


if __name__ == "__main__":
    count = int(sys.argv[1])
    files = {name: content for name, content in small_files().items() if not name.startswith("yaml")}
    peaks = {
        name: _in_a_child([corrupted(name, content, seed) for seed in range(count)]) for name, content in files.items()
    }
    json.dump(peaks, sys.stdout)
