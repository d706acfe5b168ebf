"""The tasks that there are."""

from __future__ import annotations

from omniup.errors import InputError
from omniup.evaluation.benchmark.consistency import Consistency
from omniup.evaluation.benchmark.depth import Depth
from omniup.evaluation.benchmark.masks import Masks
from omniup.evaluation.benchmark.probabilities import Probabilities
from omniup.evaluation.benchmark.reconstruction import Images
from omniup.evaluation.benchmark.task import Split, Task


def tasks(split: Split = "val") -> dict[str, Task]:
    """Every task by its name.

    Args:
        split: images to report on, or those that settings may be tuned on.
    """
    plain: tuple[Task, ...] = (Probabilities(split), Depth(), Masks(split), Images(split))
    return {task.name: task for task in (*plain, *(Consistency(task) for task in plain[:3]))}


def find_task(name: str, split: Split = "val") -> Task:
    """One of `tasks`.

    Raises:
        InputError: there is none of this name.
    """
    found = tasks(split)
    if name not in found:
        raise InputError(f"task is {name!r}: accepted are {', '.join(found)}")
    return found[name]
