"""List the tasks."""

from __future__ import annotations

from omniup.errors import InputError
from omniup_bench.canopy import Canopy
from omniup_bench.consistency import Consistency
from omniup_bench.data import Split
from omniup_bench.dense import FINER, DenseFeatures
from omniup_bench.depth import Depth
from omniup_bench.images import Images
from omniup_bench.masks import Masks
from omniup_bench.networks import IMAGENET, STREET_SCENES
from omniup_bench.probabilities import Probabilities
from omniup_bench.probe_targets import FITTED, RATIOS, DepthMaps, Labels, Normals
from omniup_bench.probing import Probe
from omniup_bench.task import Task


def tasks(split: Split = "val") -> dict[str, Task]:
    """Return every task by its name.

    Args:
        split: images to report on, or those that settings may be tuned on.
    """
    plain: tuple[Task, ...] = (Probabilities(split), Depth(), Masks(split), Images(split), Canopy())
    consistency = (Consistency(task) for task in plain[:3])
    imagenet = _labels_by_features(split, IMAGENET)
    found: tuple[Task, ...] = (*plain, *consistency, *_feature_tasks(split, STREET_SCENES), imagenet)
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
    probes = [
        *(Probe(target, "results", encoder) for target in (Labels(split), DepthMaps(), Normals())),
        _labels_by_features(split, encoder),
        *(Probe(target, "features", encoder) for target in (DepthMaps(), Normals())),
        *(_labels_by_features(split, encoder, ratio) for ratio in RATIOS),
    ]
    return [*probes, *(DenseFeatures(reference, split, encoder) for reference in FINER)]


def _labels_by_features(split: Split, encoder: str, ratio: float = 1) -> Probe:
    """Define a probe of labels that is fitted to low-resolution features.

    The street-scene network was trained to make these labels linear in its features, so a few images suffice it.
    """
    fitted = FITTED if encoder == STREET_SCENES else None
    return Probe(Labels(split, ratio, fitted), "features", encoder)
