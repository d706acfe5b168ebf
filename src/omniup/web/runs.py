"""Keep finished runs for a while, for similarities and files, which are made when they are asked for."""

from __future__ import annotations

import collections
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.files import atomic_write, locked, write_signal
from omniup.files.outputs import LOCK
from omniup.upsamplers import GaussianKernels
from omniup.web.fields import RequestError
from omniup.web.pictures import png

_PREFIX = "omniup-runs-"

_NEW = 60.0  # seconds, in which a server that starts has locked its folder

Maker = Callable[[Path], None]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Features and kernels that similarities are computed from.

    Attributes:
        features: [1, C, h, w].
        kernels: by the name of the map that they make: fixed, gsjbu.
        lengths: [1, 1, H, W], of the feature vectors of each map, bilinear too.
    """

    features: Tensor
    kernels: Mapping[str, GaussianKernels]
    lengths: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """Upsampled features of one photograph or two.

    Attributes:
        maps: [1, C, H, W] float16 by method, of each photograph.
        low: [1, C, h, w], of each photograph.
    """

    maps: list[dict[str, Tensor]]
    low: list[Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes of all maps."""
        return sum(map.nbytes for maps in self.maps for map in maps.values())


@dataclass(eq=False)
class Kept:
    """A finished run.

    Attributes:
        id: its name.
        makers: write each file that can be had of it, by the file's name.
        comparison: of a run; None of others.
        features: of a comparison of features; None of others.
        size: bytes that it takes, in memory and on disk.
        folder: where its files go.
        born: when it was kept, in seconds of `time.monotonic`.
    """

    id: UUID
    makers: Mapping[str, Maker]
    comparison: Comparison | None
    size: int
    features: FeatureMaps | None = None
    folder: Path = Path()
    born: float = field(default_factory=time.monotonic)
    _making: threading.Lock = field(default_factory=threading.Lock)

    @property
    def urls(self) -> dict[str, str]:
        """URLs of its files."""
        return {name: f"/api/runs/{self.id}/files/{name}" for name in self.makers}

    def open(self, name: str) -> BinaryIO:
        """Open a file of the run, made now if it was not before.

        Raises:
            KeyError: there is none of this name.
            FileNotFoundError: the run was removed meanwhile.
            RequestError: it cannot be written, as on a full disk.
        """
        make, path = self.makers[name], self.folder / name  # a name that is in `makers`, never one from outside
        with self._making:
            if not path.exists():
                try:
                    make(path)
                except InputError as error:
                    if self.folder.exists():
                        raise _no_room(error) from error
                    raise FileNotFoundError(self.folder) from error
                self.size += path.stat().st_size
        return path.open("rb")

    def settle(self, *names: str) -> None:
        """Make files now, and release what they are made from."""
        for name in names:
            self.open(name).close()
        self.makers = {**self.makers, **dict.fromkeys(names, _gone)}


def _no_room(error: Exception) -> RequestError:
    reason = error.values.get("reason", error) if isinstance(error, InputError) else error
    return RequestError(507, "the server", "cannot keep the result ({reason})", reason=reason)


def _gone(path: Path) -> None:
    raise FileNotFoundError(path)  # it was made before: whoever removed it has removed the run


class Runs:
    """The runs that are kept, the oldest first; safe to use from several threads.

    Args:
        kept_seconds: after which a run is removed.
        kept_bytes: that all may take together; above that the oldest are removed.
    """

    def __init__(self, kept_seconds: float, kept_bytes: int) -> None:
        self._kept_seconds, self._kept_bytes = kept_seconds, kept_bytes
        _remove_abandoned()
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._held = ExitStack()
        self._held.enter_context(locked(self._folder))
        self._runs: collections.OrderedDict[UUID, Kept] = collections.OrderedDict()
        self._lock = threading.Lock()

    def add(self, run: Kept, *names: str) -> None:
        """Keep a run, and make files of it now.

        Raises:
            RequestError: they cannot be written, as on a full disk; nothing is kept then.
        """
        run.folder = self._folder / str(run.id)
        try:
            run.folder.mkdir()
        except OSError as error:
            raise _no_room(error) from error
        with self._lock:
            self._runs[run.id] = run
        self.tidy()
        try:
            run.settle(*names)
        except RequestError:
            self.remove(run.id)
            raise

    def find(self, id: UUID) -> Kept | None:
        """Return the run of this id, if it is kept."""
        self.tidy()
        return self._runs.get(id)

    def remove(self, id: UUID) -> bool:
        """Remove a run and its files; False if there was none."""
        with self._lock:
            run = self._runs.pop(id, None)
        if run is None:
            return False
        shutil.rmtree(run.folder, ignore_errors=True)
        return True

    def tidy(self) -> None:
        """Remove what is too old, and the oldest of what is too much; the latest stays."""
        with self._lock:
            runs = [*self._runs.values()]
        oldest = time.monotonic() - self._kept_seconds
        total = sum(run.size for run in runs)
        for run in runs:
            if run.born < oldest or (total > self._kept_bytes and run is not runs[-1]):
                total -= run.size
                self.remove(run.id)

    @property
    def count_and_size(self) -> tuple[int, int]:
        """Number of runs, and their bytes."""
        with self._lock:
            runs = [*self._runs.values()]
        return len(runs), sum(run.size for run in runs)

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._held.close()  # only now, or what a killed server leaves would not be known as such


def _remove_abandoned() -> None:
    """Remove the folders that killed servers have left; those of others that run are locked, or are new."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(InputError, OSError):  # it is locked, another user's, or has gone
            if (folder / LOCK).exists() or time.time() - folder.stat().st_mtime > _NEW:
                with locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def tensor_maker(compute: Callable[[], Tensor]) -> Maker:
    """Make the maker of a file that holds a tensor [B, C, H, W], computed when it is asked for."""
    return lambda path: write_signal(path, compute())


def picture_maker(picture: Image.Image) -> Maker:
    """Make the maker of a file that holds a picture."""

    def make(path: Path) -> None:
        with atomic_write(path) as file:
            file.write(png(picture))

    return make
