"""The tasks that there are."""

from __future__ import annotations

from omniup.errors import InputError
from omniup_bench.consistency import Consistency
from omniup_bench.dense import FINER, DenseFeatures
from omniup_bench.depth import Depth
from omniup_bench.masks import Masks
from omniup_bench.probabilities import Probabilities
from omniup_bench.probing import FITTED_TO, Probe, Truth
from omniup_bench.reconstruction import Images
from omniup_bench.task import Split, Task
from omniup_bench.truths import PARTS, DepthMaps, Labels, Normals


def tasks(split: Split = "val") -> dict[str, Task]:
    """Every task by its name.

    Args:
        split: images to report on, or those that settings may be tuned on.
    """
    plain: tuple[Task, ...] = (Probabilities(split), Depth(), Masks(split), Images(split))
    consistency = (Consistency(task) for task in plain[:3])
    truths: tuple[Truth, ...] = (Labels(split), DepthMaps(), Normals())
    probes = (Probe(truth, fitted_to) for truth in truths for fitted_to in FITTED_TO)
    dense = (DenseFeatures(reference, split) for reference in FINER)
    sizes = (Probe(Labels(split, part), "features") for part in PARTS)
    found: tuple[Task, ...] = (*plain, *consistency, *probes, *sizes, *dense)
    return {task.name: task for task in found}


def find_task(name: str, split: Split = "val") -> Task:
    """One of `tasks`.

    Raises:
        InputError: there is none of this name.
    """
    found = tasks(split)
    if name not in found:
        raise InputError(f"task is {name!r}: accepted are {', '.join(found)}")
    return found[name]
