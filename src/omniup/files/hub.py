"""Find the files of published models in a cache, or fetch them: from the Hugging Face hub, or below a URL; publish.

Only this file ever asks the network for a model. What is missing is named with its repository and the folder where it
was looked for, so that it can be fetched elsewhere and brought along.
"""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import torch

from omniup.errors import InputError, optional_import
from omniup.files.weights import download, summary

_TIMEOUT = 3.0  # seconds without an answer after which the hub counts as out of reach

_NOT_FOUND = 404


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


def cached_repositories(prefix: str) -> list[str]:
    """List the repositories of the Hugging Face hub in the cache whose names begin so, even if parts are missing."""
    constants = optional_import("huggingface_hub.constants", extra="features")
    folders = Path(constants.HF_HUB_CACHE).glob(f"models--{prefix.replace('/', '--')}*")
    return sorted(folder.name.removeprefix("models--").replace("--", "/") for folder in folders)


def find_cached(repository: str, files: Sequence[str]) -> Path | None:
    """Find the folder with some files of a repository in the cache.

    Args:
        repository: as for `find`.
        files: likewise.

    Returns:
        A folder with the files under their paths; None if one of them is missing.
    """
    source = _source(repository)
    try:
        return None if any(source.cached(name) is None for name in files) else source.folder(files[0])
    except ValueError:  # it could not be the name of a repository
        return None


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
    """Find the folder with some files of a repository in the cache, or download them there.

    Args:
        repository: USER/NAME on the hub; or the URL that the files lie below, for other hubs.
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
    source = _source(repository)
    values["repository"] = repository
    try:
        missing = [name for name in files if source.cached(name) is None]
    except ValueError as error:  # it could not be the name of a repository
        values["fetch"] = "hf download USER/NAME"
        raise InputError(
            argument, "is {repository!r}, neither a folder nor a repository", accepted, **values
        ) from error
    if not missing:
        return source.folder(files[0])
    values |= {"file": missing[0], "cache": source.cache, "fetch": source.command(missing)}
    if offline or source.is_offline:
        raise InputError(
            argument,
            "is {repository}, of which {file} is not in {cache}, and {switch} forbids to fetch it",
            accepted,
            switch="`offline`" if offline else "HF_HUB_OFFLINE",
            **values,
        )
    try:
        return source.download(files, more)
    except Exception as error:  # huggingface_hub lets through what httpx or requests raise
        raise InputError(
            argument,
            "is {repository}, of which {file} is not in {cache}, and {host} does not give it ({reason})",
            accepted,
            host=source.host,
            reason=summary(error),
            **values,
        ) from error


def publish(folder: Path, repository: str, *, private: bool, message: str, keep: Sequence[str] = ()) -> str:
    """Upload the files of a folder to a repository of the hub, which is made if there is none.

    Args:
        folder: whose files replace those of the same names.
        repository: USER/NAME.
        private: whether a new repository is private.
        message: of the commit.
        keep: files that are left as they are where the repository has them.

    Returns:
        The URL of the commit.

    Raises:
        InputError: the hub does not take them; the message says why, and how to log in.
        MissingPackageError: huggingface_hub is not installed.
    """
    hub = optional_import("huggingface_hub", extra="features")
    constants = optional_import("huggingface_hub.constants", extra="features")
    accepted = "a repository USER/NAME that you may write to, after `hf auth login` or with HF_TOKEN"
    if constants.HF_HUB_OFFLINE:
        problem = "is {value}, and HF_HUB_OFFLINE forbids to ask for it"
        raise InputError("repository", problem, accepted, value=repository)
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        there = [name for name in keep if hub.file_exists(repository, name)]
        commit = hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=message, ignore_patterns=there
        )
        return str(commit.commit_url)
    except Exception as error:  # huggingface_hub lets through what httpx or requests raise
        problem, host = "is {value}, and {host} does not take it ({reason})", constants.ENDPOINT
        reason = summary(error)
        raise InputError("repository", problem, accepted, value=repository, host=host, reason=reason) from error


def record_path(folder: Path) -> Path:
    """Return where the checksums of a folder that `find` returned are kept: in the cache, beside its versions."""
    is_version = folder.parent.name == "snapshots"
    return (folder.parents[1] if is_version else folder) / "omniup-sha256.json"


class _Repository:
    """A repository of the Hugging Face hub, in the hub's cache."""

    def __init__(self, name: str) -> None:
        hub = optional_import("huggingface_hub", extra="features")
        constants = optional_import("huggingface_hub.constants", extra="features")
        self._name, self._hub = name, hub
        self.cache, self.host = constants.HF_HUB_CACHE, constants.ENDPOINT
        self.is_offline: bool = constants.HF_HUB_OFFLINE

    def cached(self, name: str) -> Path | None:
        return _cached(self._hub, self._name, name)

    def folder(self, name: str) -> Path:
        path = self.cached(name)
        assert path is not None  # or the caller would not ask
        return path.parents[name.count("/")]

    def command(self, missing: Sequence[str]) -> str:
        return f"hf download {self._name} {' '.join(missing)}"

    def download(self, files: Sequence[str], more: Sequence[str]) -> Path:
        # One request before anything is downloaded, since that tries each file six times over 23 seconds.
        self._hub.model_info(self._name, timeout=_TIMEOUT)
        return Path(self._hub.snapshot_download(self._name, allow_patterns=[*files, *more]))


class _WebFolder:
    """Files below a URL, in torch.hub's cache."""

    def __init__(self, url: str) -> None:
        self.host = url.rstrip("/")
        slug = re.sub(r"[^\w.-]+", "-", self.host.partition("://")[2])
        self.cache = Path(torch.hub.get_dir(), "omniup", slug)
        self.is_offline: bool = optional_import("huggingface_hub.constants", extra="features").HF_HUB_OFFLINE

    def cached(self, name: str) -> Path | None:
        path = self.cache / name
        return path if path.is_file() else None

    def folder(self, _: str) -> Path:
        return self.cache

    def command(self, missing: Sequence[str]) -> str:
        names = ",".join(missing)
        return f"curl --location --create-dirs --remote-name --output-dir {self.cache} {self.host}/{{{names}}}"

    def download(self, files: Sequence[str], more: Sequence[str]) -> Path:
        for name in (*more, *files):  # in this order: once all that must be there is, nothing is asked for any more
            if self.cached(name) is not None:
                continue
            try:
                download(f"{self.host}/{quote(name)}", self.cache / name)
            except urllib.error.HTTPError as error:
                if name in files or error.code != _NOT_FOUND:
                    raise
        return self.cache


def _source(repository: str) -> _Repository | _WebFolder:
    is_url = re.match(r"https?://", repository) is not None
    return _WebFolder(repository) if is_url else _Repository(repository)


def _cached(hub: ModuleType, repository: str, name: str) -> Path | None:
    found = hub.try_to_load_from_cache(repository, name)  # a path, or something else where it has none
    return Path(found) if isinstance(found, str) else None
