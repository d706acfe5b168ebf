"""List the pictures of a data set in an order that is always the same: a folder, a pattern, a list, tar archives."""

from __future__ import annotations

import csv
import glob
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from omniup.errors import InputError, optional_import
from omniup.files import Source, find_images
from omniup.files.decoding import readable_suffixes
from omniup.files.images import ACCEPTED, images_among
from omniup.files.refusals import Subject, printable
from omniup.files.sources import open_source
from omniup.jobs.addresses import Address, Member, below, check_key, fetch, file_system, is_remote, open_binary
from omniup.jobs.configuration import FolderSource, GlobSource, ListSource, WebdatasetSource

MOST_PICTURES = 10_000_000
"""Pictures of a job, at most."""

_LONGEST_LINE = 2**20
"""Bytes of a row of a list, at most."""

_ROWS = 64
"""Rows of a parquet file that are read at a time: of long values that are packed well, few."""

_LISTS = (".parquet", ".csv", ".jsonl")

AnySource = FolderSource | GlobSource | ListSource | WebdatasetSource


@dataclass(frozen=True)
class Item:
    """A picture of a data set.

    Attributes:
        key: the name of its results.
        image: where it lies.
        columns: what its list says about it.
        members: files that lie beside it in its archive, by their suffixes.
        root: where paths of columns begin.
    """

    key: str
    image: Address
    columns: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Member] = field(default_factory=dict)
    root: str = "."

    def fill(self, pattern: str, *, is_text: bool = False) -> Any:
        """Fill in a pattern: an address, a member of the archive, or the value of a column that is no text.

        Args:
            pattern: with gaps in braces.
            is_text: whether a column's text that begins with a bracket is JSON and no path.

        Raises:
            InputError: there is no such column or member, or the path would leave its root.
        """
        known = {"key": self.key, **self.columns, **self.members}

        def value(name: str) -> Any:
            if name not in known:
                raise InputError(pattern, "names {name!r}", "{names}", name=name, names=", ".join(known))
            return known[name]

        if whole := re.fullmatch(r"\{([^{}]+)\}", pattern):
            found = value(whole[1])
            is_path = isinstance(found, str) and not (is_text and found.startswith("["))
            return below(self.root, found) if is_path else found
        filled = re.sub(r"\{([^{}]+)\}", lambda gap: _part(value(gap[1])), pattern)
        return below(self.root, filled) if pattern.startswith("{") else filled


def list_items(source: AnySource, output: Path) -> list[Item]:
    """List the pictures of a source.

    Args:
        source: where they are.
        output: the folder of the results; should it lie in the source, nothing is taken from there.

    Raises:
        InputError: there are none, the source cannot be read, or two would have the same name.
    """
    found: dict[str, Item] = {}
    for item in _LISTERS[type(source)](source, output):
        check_key(item.key)
        if item.key in found:
            problem = "would be named {key}, and so would {other}"
            other = _shown(found[item.key].image)
            raise InputError(
                _shown(item.image),
                problem,
                "different names; a list may have a column `key`",
                key=item.key,
                other=other,
            )
        if len(found) == MOST_PICTURES:
            raise InputError(printable(source.path), "has more than {most} pictures", most=MOST_PICTURES)
        found[item.key] = item
    if not found:
        raise InputError(printable(source.path), "holds no pictures", ACCEPTED)
    return list(found.values())


def _folder(source: FolderSource, output: Path) -> Iterator[Item]:
    if is_remote(source.path):
        system, path = file_system(source.path, source.storage)
        with Subject(printable(source.path), "a folder of pictures").attempt("read"):
            names = system.find(path, maxdepth=None if source.below else 1)
        inside = images_among(map(PurePosixPath, names), path)
        yield from (_named(system.unstrip_protocol(str(name)), path, name) for name in inside)
    else:
        if not Path(source.path).is_dir():
            raise InputError(printable(source.path), "is no folder", "a folder of pictures")
        for name in find_images(source.path, below=source.below):
            if output not in name.resolve().parents:
                yield _named(str(name), source.path, name)


def _glob(source: GlobSource, output: Path) -> Iterator[Item]:
    fixed = PurePosixPath(re.split(r"[*?\[]", source.path)[0] + "x").parent  # the folder above the first wildcard
    if is_remote(source.path):
        system, path = file_system(source.path, source.storage)
        folder = PurePosixPath(re.split(r"[*?\[]", path)[0] + "x").parent
        with Subject(printable(source.path), "a pattern of paths").attempt("read"):
            names = sorted(system.glob(path))
        yield from (_named(system.unstrip_protocol(name), folder, PurePosixPath(name)) for name in names)
    else:
        for text in sorted(glob.glob(source.path, recursive=True)):  # noqa: PTH207  # Path.glob takes no absolute one
            if Path(text).is_file() and output not in Path(text).resolve().parents:
                yield _named(text, fixed, Path(text))


def _list(source: ListSource, output: Path) -> Iterator[Item]:
    suffix = PurePosixPath(source.path).suffix.lower()
    if suffix not in _LISTS:
        raise InputError(
            printable(source.path), "has the suffix {suffix!r}", "{lists}", suffix=suffix, lists=", ".join(_LISTS)
        )
    root = source.root or source.path.rpartition("/")[0] or "/"
    read = {".parquet": _parquet_rows, ".csv": _csv_rows, ".jsonl": _json_rows}[suffix]
    for number, row in enumerate(read(fetch(source.path, source.storage)), 1):
        place = f"{printable(source.path)}, row {number}"
        for column in filter(None, (source.image, source.key)):
            if not isinstance(row.get(column), str) or not row[column]:
                raise InputError(
                    place,
                    "has no text in the column {column!r}",
                    "the columns {names}",
                    column=column,
                    names=", ".join(map(str, row)),
                )
        try:
            address = below(root, row[source.image])
            relative = PurePosixPath(address.removeprefix(root.rstrip("/") + "/"))
            key = row[source.key] if source.key else relative.with_suffix("").as_posix()
            yield Item(check_key(key), address, row, root=root)
        except InputError as error:
            raise error.within(place) from error


def _parquet_rows(source: Source) -> Iterator[dict[str, Any]]:
    parquet = optional_import("pyarrow.parquet", extra="batch")
    with open_source(source, noun="list", accepted="a parquet file with a row for each picture") as (stream, subject):
        with subject.attempt("read"):
            file = parquet.ParquetFile(stream)
            rows = file.metadata.num_rows
        if rows > MOST_PICTURES:
            raise subject.refusal("has {rows} rows", rows=rows)
        batches = file.iter_batches(batch_size=_ROWS)
        while True:
            with subject.attempt("read"):
                batch = next(batches, None)
                if batch is not None and _row_bytes(batch) > _LONGEST_LINE:
                    raise subject.refusal("has rows of more than {most} bytes", most=_LONGEST_LINE)
                found = [] if batch is None else batch.to_pylist()
            if batch is None:
                return
            yield from found


def _row_bytes(batch: Any) -> int:
    """Return how many bytes a row of a batch of pyarrow takes, about, with the longest entries of dictionaries."""
    compute: Any = optional_import("pyarrow.compute", extra="batch")
    entries = [column.dictionary for column in batch.columns if hasattr(column, "dictionary")]
    longest = [compute.max(compute.binary_length(each.cast("string"))).as_py() or 0 for each in entries]
    return max(batch.nbytes // max(1, batch.num_rows), *longest, 0)


def _csv_rows(source: Source) -> Iterator[dict[str, Any]]:
    accepted = "CSV in UTF-8 with a header, and a row for each picture"
    with open_source(source, noun="list", accepted=accepted) as (stream, subject):
        text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
        rows = csv.DictReader(text, strict=True)
        while True:
            with subject.attempt("read"):
                row = next(rows, None)
            if row is None:
                text.detach()
                return
            if None in row or None in row.values():
                raise subject.refusal(
                    "has another number of columns than its header in line {line}", line=rows.line_num
                )
            yield row


def _json_rows(source: Source) -> Iterator[dict[str, Any]]:
    with open_source(source, noun="list", accepted="an object of JSON a line, one for each picture") as (
        stream,
        subject,
    ):
        for number, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE + 1), b""), 1):
            if len(line) > _LONGEST_LINE:
                raise subject.refusal("has more than {most} bytes in line {line}", most=_LONGEST_LINE, line=number)
            if not line.strip():
                continue
            with subject.attempt("read"):
                row = json.loads(line)
            if not isinstance(row, dict):
                raise subject.refusal("has no object in line {line}", line=number)
            yield row


def _webdataset(source: WebdatasetSource, output: Path) -> Iterator[Item]:
    if is_remote(source.path):
        system, path = file_system(source.path, source.storage)
        with Subject(printable(source.path), "tar archives").attempt("read"):
            archives = [system.unstrip_protocol(name) for name in sorted(system.glob(path))]
    else:
        archives = sorted(glob.glob(source.path, recursive=True))  # noqa: PTH207
    for archive in archives:
        yield from _samples(archive, source)


def _samples(archive: str, source: WebdatasetSource) -> Iterator[Item]:
    """Yield the samples of an archive: members in turn whose paths agree up to the first dot of their names."""
    subject = Subject(printable(archive), "a tar archive without compression, with a picture in each sample")
    members: dict[str, dict[str, Member]] = {}
    with subject.attempt("read"), open_binary(archive, source.storage) as stream:
        end = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # which it would keep
                if not info.isreg() or info.issparse():
                    continue
                if info.offset_data + info.size > end:
                    raise subject.refusal("ends within {name}", name=printable(info.name))
                folder, slash, name = info.name.removeprefix("./").rpartition("/")
                stem, _, suffix = name.partition(".")
                here = Member(archive, info.name, info.offset_data, info.size)
                members.setdefault(folder + slash + stem, {})[suffix] = here
    for key, files in members.items():
        if not key.rpartition("/")[2]:
            continue  # hidden
        images = [suffix for suffix in files if _is_image(suffix, source.image)]
        if not images:
            wanted = source.image or "a picture"
            raise subject.refusal("has the sample {key} without {wanted}", key=printable(key), wanted=wanted)
        yield Item(key, files[images[0]], members=files)


def _is_image(suffix: str, wanted: str | None) -> bool:
    return suffix == wanted if wanted else f".{suffix.lower()}" in readable_suffixes()


def _named(address: str, folder: PurePath | str, path: PurePath) -> Item:
    """Name an item by its path below a folder, without its suffix."""
    return Item(path.relative_to(folder).with_suffix("").as_posix(), address, root=str(folder))


def _part(value: Any) -> str:
    """Return a value as a part of a path that stays below what stands before it."""
    text = str(value)
    if ".." in re.split(r"[/\\]", text) or text.startswith("/") or is_remote(text):
        raise InputError(printable(text), "leads elsewhere", "the part of a path")
    return text


def _shown(address: Address) -> str:
    return printable(address if isinstance(address, str) else f"{address.tar}: {address.name}")


_LISTERS: Mapping[type, Any] = {
    FolderSource: _folder,
    GlobSource: _glob,
    ListSource: _list,
    WebdatasetSource: _webdataset,
}
