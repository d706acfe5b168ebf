"""Where the files of published models are: in the cache of the Hugging Face hub, or on the hub itself.

Only this file ever asks the network for a model. What is missing is named with its repository and the folder where it
was looked for, so that it can be fetched elsewhere and brought along.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from omniup.errors import InputError, optional_import
from omniup.files.weights import summary

_TIMEOUT = 3.0  # seconds without an answer after which the hub counts as out of reach


def ask(repository: str, *names: str) -> None:
    """Make sure, in a single request, that a repository can be had, unless one of its files is in the cache.

    For libraries that fetch their models themselves, and try each of several files for many seconds.

    Args:
        repository: USER/NAME.
        names: of files, any of which is enough.

    Raises:
        Exception: whatever huggingface_hub lets through, if the hub cannot be reached or has no such repository.
    """
    hub = optional_import("huggingface_hub", extra="features")
    if all(_cached(hub, repository, name) is None for name in names) and not hub.constants.HF_HUB_OFFLINE:
        hub.model_info(repository, timeout=_TIMEOUT)


def find(repository: str, files: Sequence[str], *, more: Sequence[str] = (), offline: bool = False) -> Path:
    """Find the folder with some files of a repository: in the hub's cache, or made there.

    Args:
        repository: USER/NAME.
        files: what must be there, by paths within the repository.
        more: what is fetched as well where the repository has it.
        offline: look in the cache only, as the environment variable HF_HUB_OFFLINE asks for too.

    Returns:
        A folder with the files under their paths.

    Raises:
        InputError: they are not in the cache and cannot be fetched; the message says what is missing, and why.
    """
    hub = optional_import("huggingface_hub", extra="features")
    missing = [name for name in files if _cached(hub, repository, name) is None]
    if not missing:
        path = _cached(hub, repository, files[0])
        assert path is not None  # since nothing is missing
        return path.parents[files[0].count("/")]
    absent = f"{missing[0]} of {repository} is not in {hub.constants.HF_HUB_CACHE}"
    fetch = f"where there is a network: hf download {repository} {' '.join(missing)}"
    if offline or hub.constants.HF_HUB_OFFLINE:
        why = "`offline`" if offline else "HF_HUB_OFFLINE"
        raise InputError(f"{absent}, and {why} forbids to fetch it; {fetch}")
    try:
        # One request before anything is downloaded, since that tries each file six times over 23 seconds.
        hub.model_info(repository, timeout=_TIMEOUT)
        return Path(hub.snapshot_download(repository, allow_patterns=[*files, *more]))
    except Exception as error:  # huggingface_hub lets through what httpx or requests raise
        refused = f"{hub.constants.ENDPOINT} does not give it ({summary(error)})"
        raise InputError(f"{absent}, and {refused}; {fetch}") from error


def _cached(hub: ModuleType, repository: str, name: str) -> Path | None:
    try:
        found = hub.try_to_load_from_cache(repository, name)  # a path, or something else where it has none
    except ValueError as error:  # it could not be the name of a repository
        raise InputError(f"there is no folder {repository!r}, and no repository is called so") from error
    return Path(found) if isinstance(found, str) else None
