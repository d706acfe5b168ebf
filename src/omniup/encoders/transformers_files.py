"""Load the networks of transformers: from a local folder, the cache of the Hugging Face hub, or else the hub itself.

A folder is data and nothing more: settings are JSON, weights are safetensors, read by our own reader, and transformers
is handed both; so nothing is unpickled, no code of a repository runs, and only `files/hub.py` ever asks the network for
anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from omniup.encoders.weights import seeded
from omniup.errors import InputError
from omniup.files.hub import find
from omniup.files.weights import IMAGENET_MEAN, IMAGENET_STD, read_state_dict, summary

SETTINGS, PREPROCESSING, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
_ACCEPTED = "a folder with config.json and model.safetensors, as `save_pretrained` writes it"


def model_folder(model: str, offline: bool) -> Path:
    """Find the folder with a model's files: the caller's own, or the hub's.

    Raises:
        InputError: it is neither, or the files cannot be had.
    """
    if Path(model).is_dir():
        return Path(model)
    return find(
        model,
        [SETTINGS, WEIGHTS],
        argument="model",
        accepted="a repository, once `{fetch}` has fetched it where there is a network, or a folder with config.json "
        "and model.safetensors, as `save_pretrained` writes it",
        more=[PREPROCESSING],
        offline=offline,
    )


def load_network(
    transformers: ModuleType, folder: Path, network: Any, config: Any, *, noun: str, attention: str, unused: str = ""
) -> Any:
    """Build a network with the weights of a folder, on the CPU, in evaluation mode.

    Args:
        transformers: the package.
        folder: with `WEIGHTS`.
        network: its class.
        config: its settings, an object of transformers.
        noun: what refusals call the network.
        attention: the implementation of attention, whatever the settings say, which may name a repository with code.
        unused: names of parameters that contain it are not needed.

    Raises:
        InputError: there are no weights, they cannot be read, or they do not fit.
    """
    if not (folder / WEIGHTS).is_file():
        raise InputError(
            "model",
            "is {folder}, which has no {file}; pickled weights are not read",
            _ACCEPTED,
            folder=folder,
            file=WEIGHTS,
        )
    state = read_state_dict(folder / WEIGHTS)
    try:
        # Not from the folder: there transformers would also look for adapters, other weights and pickled ones. But not
        # `load_state_dict` either, since transformers knows what older releases called the weights.
        with _quiet(transformers), seeded():
            made, report = network.from_pretrained(
                None,
                config=config,
                state_dict=state,
                torch_dtype=torch.float32,  # by the name that every release knows
                attn_implementation=attention,
                ignore_mismatched_sizes=True,  # so as to report them here
                output_loading_info=True,
            )
    except Exception as error:  # wrong settings raise TypeError, KeyError, AttributeError, ImportError …
        raise unfit(folder, noun, error) from error
    # Parameters that are missing or of another shape have been filled with random numbers; buffers can be made.
    found = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    needed = (name for name, _ in made.named_parameters() if not (unused and unused in name))
    if lacking := sorted(found.intersection(needed)):
        raise InputError(
            "model",
            "has weights in {path} that lack, or hold in another shape, {names}",
            path=folder / WEIGHTS,
            names=summary(", ".join(lacking)),
        )
    return made.eval()


def unfit(folder: Path, noun: str, error: Exception) -> InputError:
    """Make the refusal of a folder whose settings or weights transformers cannot use."""
    problem = "is {folder}, which is no {noun} ({reason})"
    return InputError("model", problem, _ACCEPTED, folder=folder, noun=noun, reason=summary(error))


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Keep transformers' progress bar and its table of missing weights off the terminal."""
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()


def normalisation(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of the network's inputs: the file's, or else ImageNet's.

    Raises:
        InputError: the file holds something else.
    """
    settings = read_json(path) if path.is_file() else {}
    mean, std = settings.get("image_mean", IMAGENET_MEAN), settings.get("image_std", IMAGENET_STD)
    try:
        made = torch.tensor([mean, std])  # [2, 3]
        usable = made.shape == (2, 3) and made.isfinite().all() and (made[1] > 0).all()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        usable = False
    if not usable:
        raise InputError(
            "model",
            "has the image_mean {mean} and the image_std {std} in {path}",
            "three numbers each, those of image_std above 0",
            mean=summary(mean),
            std=summary(std),
            path=path,
        )
    return tuple(mean), tuple(std)


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a file of a model.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            "model", "has the file {path}, which cannot be read ({reason})", _ACCEPTED, path=path, reason=summary(error)
        ) from error
    if not isinstance(held, dict):
        raise InputError(
            "model", "has the file {path}, which holds a {held}", _ACCEPTED, path=path, held=type(held).__name__
        )
    return held
