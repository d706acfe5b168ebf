"""Check the files that restored pictures go to, and have them for this process alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath

from omniup.cli.outputs import output_file
from omniup.errors import InputError
from omniup.files import Inputs, check_output, output_folder, sweep
from omniup.restoration.results import DEEP_SUFFIXES, RESULT_FORMATS, is_done, is_result

_OTHER_FORMATS = {
    *(".bmp", ".gif", ".pbm", ".pgm", ".ppm", ".pfm", ".heic", ".heif", ".jxl", ".exr", ".hdr", ".apng"),
    *(".npy", ".npz", ".pt", ".safetensors"),
}
"""Suffixes of files that results are not written to, and of which no folder is made by mistake."""


def find_targets(pictures: Mapping[str, PurePath], output: str, file_format: str | None) -> dict[str, Path]:
    """Determine the files for the results.

    Raises:
        InputError: there is no such format, several pictures would go into one file, or it has the suffix of another
            format.
    """
    path = Path(output)
    known = ", ".join(suffix.removeprefix(".") for suffix in RESULT_FORMATS)
    if path.suffix.lower() in _OTHER_FORMATS and not path.is_dir():
        raise InputError(
            output,
            "has the suffix {suffix!r}",
            "a folder, or a file name that ends in {formats}",
            suffix=path.suffix,
            formats=known,
        )
    if not _is_file(output):
        suffix = f".{file_format or 'png'}"
        if suffix not in RESULT_FORMATS:
            raise InputError("--format", "is {value!r}", "{formats}", value=file_format, formats=known)
        return {source: path / place.with_suffix(suffix) for source, place in pictures.items()}
    if file_format is not None:
        raise InputError("--format", "is given, and {output} is a file", "its suffix alone", output=output)
    if len(pictures) == 1:
        return dict.fromkeys(pictures, path)
    raise InputError(output, "is one file for {count} pictures", "a folder", count=len(pictures))


def check_bits(bits: int, targets: Mapping[str, Path]) -> None:
    """Refuse bits that the results' format does not hold."""
    if bits not in (8, 16):
        raise InputError("--bits", "is {value}", "8 and 16", value=bits)
    other = {target.suffix.lower() for target in targets.values()} - {*DEEP_SUFFIXES}
    if bits == 16 and other:
        accepted, formats = "16 for {formats}", ", ".join(DEEP_SUFFIXES)
        raise InputError("--bits", "is 16, and results are {suffix}", accepted, suffix=min(other), formats=formats)


def _is_file(output: str) -> bool:
    return Path(output).suffix.lower() in RESULT_FORMATS and not Path(output).is_dir()


@contextmanager
def owned(output: str, targets: Mapping[str, Path], overwrite: bool) -> Iterator[None]:
    """Have the folder or file of the results for this process alone; they replace their like and nothing else.

    Raises:
        InputError: it cannot be written to, another process writes there, or a result would replace something else.
    """
    with ExitStack() as stack:
        if _is_file(output):
            stack.enter_context(output_file(output, targets, overwrite or is_result(Path(output))))
        else:
            stack.enter_context(output_folder(output, "restore"))
        for folder in {target.parent for target in targets.values()}:
            sweep(folder)
        originals = Inputs(targets)
        for target in targets.values():
            check_output(target, originals, overwrite=overwrite or is_result(target))
        yield


@contextmanager
def owned_sheet(compare: str | None, output: str, targets: Mapping[str, Path], overwrite: bool) -> Iterator[None]:
    """Have the file of the sheet, if one is wanted, for this process alone; it replaces that of the same results.

    Raises:
        InputError: it is no .png file or one of the results, cannot be written, or would replace something else.
    """
    if compare is None:
        yield
        return
    path = Path(compare)
    if path.suffix.lower() != ".png" or path.resolve() in {target.resolve() for target in targets.values()}:
        raise InputError("--compare", "is {value}", "a .png file that is no result", value=compare)
    with output_file(compare, targets, overwrite or is_done(path, of_sheet(output))):
        yield


def of_sheet(output: str) -> dict[str, str]:
    """Return the settings that are kept in a sheet."""
    return {"compare": output}
