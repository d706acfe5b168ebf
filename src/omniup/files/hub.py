"""Find the files of published models in the cache of the Hugging Face hub, or fetch them from the hub.

Only this file ever asks the network for a model. What is missing is named with its repository and the folder where it
was looked for, so that it can be fetched elsewhere and brought along.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from omniup.errors import InputError, optional_import
from omniup.files.weights import summary

_TIMEOUT = 3.0  # seconds without an answer after which the hub counts as out of reach


def ask(repository: str, *names: str) -> None:
    """Check, in a single request, that a repository can be had, unless one of its files is in the cache.

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


def find(
    repository: str,
    files: Sequence[str],
    *,
    argument: str,
    accepted: str,
    more: Sequence[str] = (),
    offline: bool = False,
    **values: Any,
) -> Path:
    """Find the folder with some files of a repository in the hub's cache, or download them there.

    Args:
        repository: USER/NAME.
        files: what must be there, by paths within the repository.
        argument: what refusals say cannot be accepted.
        accepted: what they say is accepted, as a template; `{fetch}` is the command that fetches the files.
        more: what is fetched as well where the repository has it.
        offline: look in the cache only, as the environment variable HF_HUB_OFFLINE asks for too.
        **values: for the replacement fields of `accepted`.

    Returns:
        A folder with the files under their paths.

    Raises:
        InputError: they are not in the cache and cannot be fetched; the message says what is missing, and why.
    """
    hub = optional_import("huggingface_hub", extra="features")
    values["repository"] = repository
    try:
        missing = [name for name in files if _cached(hub, repository, name) is None]
    except ValueError as error:  # it could not be the name of a repository
        values["fetch"] = "hf download USER/NAME"
        raise InputError(
            argument, "is {repository!r}, neither a folder nor a repository", accepted, **values
        ) from error
    if not missing:
        path = _cached(hub, repository, files[0])
        assert path is not None  # since nothing is missing
        return path.parents[files[0].count("/")]
    values |= {"file": missing[0], "cache": hub.constants.HF_HUB_CACHE}
    values["fetch"] = f"hf download {repository} {' '.join(missing)}"
    if offline or hub.constants.HF_HUB_OFFLINE:
        raise InputError(
            argument,
            "is {repository}, of which {file} is not in {cache}, and {switch} forbids to fetch it",
            accepted,
            switch="`offline`" if offline else "HF_HUB_OFFLINE",
            **values,
        )
    try:
        # One request before anything is downloaded, since that tries each file six times over 23 seconds.
        hub.model_info(repository, timeout=_TIMEOUT)
        return Path(hub.snapshot_download(repository, allow_patterns=[*files, *more]))
    except Exception as error:  # huggingface_hub lets through what httpx or requests raise
        raise InputError(
            argument,
            "is {repository}, of which {file} is not in {cache}, and {host} does not give it ({reason})",
            accepted,
            host=hub.constants.ENDPOINT,
            reason=summary(error),
            **values,
        ) from error


def _cached(hub: ModuleType, repository: str, name: str) -> Path | None:
    found = hub.try_to_load_from_cache(repository, name)  # a path, or something else where it has none
    return Path(found) if isinstance(found, str) else None
