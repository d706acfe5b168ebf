"""Trainings in processes of their own."""

import json
import os
import subprocess
import sys
import time

import torch
import yaml

from omniup.cli import main
from omniup.training.checkpoints import Checkpoints
from support.forks import Fork

TIMEOUT = 600


def at(example, folder):
    """The changes that make an example read its photographs from a folder, where they are not the package's own."""
    sections = yaml.safe_load(example.read_text()).items()
    elsewhere = [name for name, fields in sections if isinstance(fields, dict) and "../data/" in str(fields)]
    return {f"{name}.images": [str(folder)] for name in elsewhere}


def kill_after(step, folder, what, *arguments):
    """Kill `omniup train WHAT`, in a fork of this process, once it has a checkpoint of this step or a later one."""
    training = Fork(lambda: main(["train", what, *map(str, arguments), "-o", str(folder)]))
    deadline = time.monotonic() + TIMEOUT
    while not any(found >= step for found in Checkpoints(folder / "checkpoints").steps()):
        assert training.is_running()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    training.kill()


def in_two_processes(what, configuration, folder, *arguments):
    """Run `omniup train WHAT` in two processes of Accelerate, on CPUs: what is reported, by the first process only."""
    launcher = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
    launcher += ("--mixed_precision", "no", "--dynamo_backend", "no", "-m")
    train = ("train", what, configuration, "-o", folder, *arguments, "--json")
    command = [sys.executable, "-m", *launcher, "omniup", *map(str, train)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def scalars(folder, name):
    """What a training's events say, by steps: two processes that began in the same second have files in any order."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return sorted((event.step, event.value) for event in events.Scalars(name))
