"""Name the results of pictures, one by one, and have their files for this process alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath

from omniup.cli.outputs import output_file
from omniup.errors import InputError
from omniup.files import output_folder


class PictureResults:
    """Files for the results of pictures: for one picture a file, or a folder like that of the pictures.

    Args:
        pictures: their names, as `find_pictures` gives them.
        output: as the user gave it: a file with one of the suffixes, or a folder.
        suffixes: of files; the first part of the results has it.
        default: the ending of the first part in a folder.

    Attributes:
        suffix: the ending of the first part.

    Raises:
        InputError: several pictures would go into one file, or it has the suffix of another format.
    """

    def __init__(self, pictures: Mapping[str, PurePath], output: str, *, suffixes: Sequence[str], default: str) -> None:
        if output == "-":  # which stands for standard output elsewhere, where results are one part
            raise InputError(output, "is standard output", "a file or a folder, as results have several parts")
        self._path = Path(output)
        suffix = self._path.suffix
        self._is_file = bool(suffix) and not self._path.is_dir()
        if self._is_file and suffix.lower() not in suffixes:
            known = ", ".join(suffixes)
            raise InputError(output, "has the suffix {suffix!r}", "a folder, or {known}", suffix=suffix, known=known)
        if self._is_file and len(pictures) > 1:
            raise InputError(output, "is one file for {count} pictures", "a folder", count=len(pictures))
        self.suffix = suffix if self._is_file else default
        self._stems = {
            source: self._path.with_suffix("") if self._is_file else self._path / name.with_suffix("")
            for source, name in pictures.items()
        }

    def file(self, source: str, ending: str) -> str:
        """Return the file of a part of a picture's results, by its ending."""
        return f"{self._stems[source]}{ending}"

    @contextmanager
    def own(self, command: str, endings: Sequence[str], inputs: Sequence[str], overwrite: bool) -> Iterator[None]:
        """Have the files for this process alone.

        Args:
            command: which writes.
            endings: of the parts of each picture's results.
            inputs: what is read, and must not be overwritten.
            overwrite: replace files that are there, whoever wrote them.

        Raises:
            InputError: one cannot be written, is an input, or is there and not to be overwritten.
        """
        names = [self.file(source, ending) for source in self._stems for ending in endings]
        with ExitStack() as stack:
            if self._is_file:
                for name in names:
                    stack.enter_context(output_file(name, inputs, overwrite))
            else:
                place = stack.enter_context(output_folder(self._path, command, inputs=inputs, overwrite=overwrite))
                for name in names:
                    Path(name).parent.mkdir(parents=True, exist_ok=True)
                place.claim(*(Path(name).relative_to(self._path).as_posix() for name in names))
            yield
