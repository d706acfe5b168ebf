"""Trainings in processes of their own."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import torch

from omniup.training.checkpoints import Checkpoints

TIMEOUT = 600


def at(example, folder):
    """The changes that make an example read its photographs from a folder, where they are not the package's own."""
    if "../data/" not in example.read_text():
        return {}
    return {"data.images": [str(folder)], "validation.images": [str(folder)]}


@contextmanager
def starter(what):
    """Start `omniup train WHAT` with as many threads as this process has; ended at the end, if need be."""
    started = []

    def run(*arguments, launcher=("-m",)):
        environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "ACCELERATE_USE_CPU": "true"}
        command = [sys.executable, *launcher, "omniup", "train", what, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, **pipes))
        return started[-1]

    try:
        yield run
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def wait_for(process, folder, step):
    """Wait until there is a checkpoint that was written after this step or a later one."""
    deadline = time.monotonic() + TIMEOUT
    while not any(found >= step for found in Checkpoints(folder / "checkpoints").steps()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def scalars(folder, name):
    """What a training's events say, by steps: two processes that began in the same second have files in any order."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return sorted((event.step, event.value) for event in events.Scalars(name))
