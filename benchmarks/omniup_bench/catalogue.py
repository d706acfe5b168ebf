"""List the tasks."""

from __future__ import annotations

from omniup.errors import InputError
from omniup_bench.consistency import Consistency
from omniup_bench.data import Split
from omniup_bench.dense import FINER, DenseFeatures
from omniup_bench.depth import Depth
from omniup_bench.images import Images
from omniup_bench.masks import Masks
from omniup_bench.networks import STREET_SCENES
from omniup_bench.probabilities import Probabilities
from omniup_bench.probe_targets import RATIOS, DepthMaps, Labels, Normals
from omniup_bench.probing import FITTED_TO, Probe, ProbeTarget
from omniup_bench.task import Task


def tasks(split: Split = "val") -> dict[str, Task]:
    """Return every task by its name.

    Args:
        split: images to report on, or those that settings may be tuned on.
    """
    plain: tuple[Task, ...] = (Probabilities(split), Depth(), Masks(split), Images(split))
    consistency = (Consistency(task) for task in plain[:3])
    found: tuple[Task, ...] = (*plain, *consistency, *_feature_tasks(split, STREET_SCENES))
    return {task.name: task for task in found}


def find_task(name: str, split: Split = "val") -> Task:
    """Return one of `tasks`; or, `NAME+timm:BACKBONE`, one of those on features with another encoder.

    Raises:
        InputError: there is none of this name.
    """
    found = tasks(split)
    _, plus, encoder = name.partition("+")
    if plus and encoder.startswith("timm:"):
        found |= {task.name: task for task in _feature_tasks(split, encoder)}
    if name not in found:
        raise InputError("task", "is {name!r}", "{names}", name=name, names=", ".join(found))
    return found[name]


def _feature_tasks(split: Split, encoder: str) -> list[Task]:
    targets: tuple[ProbeTarget, ...] = (Labels(split), DepthMaps(), Normals())
    probes = (Probe(target, fitted_to, encoder) for target in targets for fitted_to in FITTED_TO)
    sizes = (Probe(Labels(split, ratio), "features", encoder) for ratio in RATIOS)
    dense = (DenseFeatures(reference, split, encoder) for reference in FINER)
    return [*probes, *sizes, *dense]
