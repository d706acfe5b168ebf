"""Read settings in YAML, check their fields, and refuse them with a line for each field."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from yaml.constructor import ConstructorError
from yaml.scanner import ScannerError

from omniup.errors import InputError
from omniup.files.sources import Source, open_source, stream_size

MAX_FILE_BYTES = 2**16
"""The largest file that is read: whatever it says, that takes less than a second."""

MAX_NESTING = 20
"""Brackets within brackets that are read: the scanner looks at all that are open for each that it opens."""

MAX_PROBLEMS = 8
"""Fields that a refusal names, at most."""


class _Loader(yaml.SafeLoader):
    """Load YAML without merge keys: one that merges another several times multiplies the work with every line."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Refuse brackets nested so deeply that the work grows with their number squared."""
        if self.flow_level >= MAX_NESTING:
            problem = f"more than {MAX_NESTING} brackets within each other are not read here"
            raise ScannerError(None, None, problem, self.get_mark())
        super().fetch_flow_collection_start(token)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merge keys, which this would replace by what they stand for."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ConstructorError(None, None, "merge keys, <<, are not read here", node.start_mark)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuse whole numbers that are too long to be printed, in a refusal for example."""
        number = super().construct_yaml_int(node)
        if number.bit_length() > 64:
            raise ConstructorError(None, None, "whole numbers of more than 64 bits are not read here", node.start_mark)
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


class SettingsError(InputError):
    """Fields of settings cannot be accepted; as data the first of them, as text a line for each.

    Attributes:
        refusals: one for each field.
    """

    def __init__(self, refusals: Sequence[InputError]) -> None:
        first = refusals[0]
        super().__init__(first.argument, first.problem, first.accepted, **first.values)
        self.args, self.refusals = (refusals,), refusals

    def __str__(self) -> str:
        return ";\n".join(map(str, self.refusals))


class Section(BaseModel):
    """A part of the settings, with these fields and no others.

    Validators raise an `InputError` whose argument is the field within what they validate, and empty for all of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        """Refuse unknown fields, and name the known ones; pydantic does not."""
        if isinstance(given, Mapping) and (unknown := [str(name) for name in given if name not in cls.model_fields]):
            named, fields = ", ".join(unknown[:MAX_PROBLEMS]), ", ".join(cls.model_fields)
            raise InputError(named, "is no field", "{fields}", fields=fields)
        return given


Settings = TypeVar("Settings", bound=Section)


def read_settings(model: type[Settings], source: Source, changes: Mapping[str, Any] | None = None) -> Settings:
    """Read settings.

    Args:
        model: the fields and their checks. Validators of a file get its `folder` as context.
        source: YAML, at most `MAX_FILE_BYTES`; what it does not name keeps its default.
        changes: values that stand in for the file's, by their paths, e.g. `{"optimiser.learning_rate": 1e-4}`.

    Raises:
        InputError: the source cannot be read or is not YAML, or a field is unknown, missing or impossible; a line for
            each, which names the field and what is accepted.
    """
    with open_source(
        source,
        noun=model.__name__.lower(),
        accepted="YAML with the fields {fields}",
        fields=", ".join(model.model_fields),
    ) as (stream, subject):
        if stream_size(stream) > MAX_FILE_BYTES:
            raise subject.refusal("is larger than {most} bytes", most=MAX_FILE_BYTES)
        with subject.attempt("read"):
            given = yaml.load(stream, _Loader)
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise subject.refusal("holds no fields")
    for field, value in (changes or {}).items():
        _change(given, field, value)
    folder = {"folder": Path(source).parent} if isinstance(source, (str, Path)) else {}
    try:
        return model.model_validate(given, context=folder)
    except ValidationError as error:
        raise SettingsError([refusal.within(subject.name) for refusal in _refusals(error, given)]) from error


def beside_the_file(path: Path, info: ValidationInfo) -> Path:
    """Resolve a relative path from the configuration's folder, or the current one where there is no file."""
    return Path((info.context or {}).get("folder", "."), path.expanduser()).resolve()


def existing(path: Path) -> Path:
    """Refuse a path that does not exist."""
    if not path.exists():
        raise InputError("", "is {path}, which does not exist", "a path", path=path)
    return path


def _change(given: Any, field: str, value: Any) -> None:
    """Set the value at a path such as `backbones.0.patch`; sections that are missing are added."""
    *parents, last = field.split(".")
    try:
        for name in parents:
            given = given[int(name)] if isinstance(given, list) else given.setdefault(name, {})
        given[int(last) if isinstance(given, list) else last] = value
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(field, "is no place in the configuration") from error


#: The problem of a field and what is accepted, by pydantic's types, where its own words would not fit in.
_WORDS = {
    "missing": ("is missing", ""),
    "model_type": ("is {input}", "fields"),
    "too_short": ("has {actual_length} entries", "at least {min_length}"),
    "too_long": ("has {actual_length} entries", "at most {max_length}"),
    "union_tag_not_found": ("has no kind", ""),
    "union_tag_invalid": ("is of the kind {tag!r}", "{expected_tags}"),
}


def _refusals(error: ValidationError, given: Any) -> list[InputError]:
    """Make a refusal for each field that pydantic found something wrong with."""
    refusals = []
    for found in error.errors(include_url=False)[:MAX_PROBLEMS]:
        field, context = _path(found["loc"], given), found.get("ctx", {})
        inner = context.get("error")
        if isinstance(inner, SettingsError):  # of another file
            refusals += [refusal.within(field) for refusal in inner.refusals]
            continue
        if isinstance(inner, InputError):
            argument = ".".join(filter(None, (field, inner.argument)))
            refusals.append(InputError(argument, inner.problem, inner.accepted, **inner.values))
            continue
        wanted = found["msg"].removeprefix("Input should be ")
        problem, accepted = _WORDS.get(found["type"], ("is {input}", "{wanted}"))
        values = {"input": reprlib.repr(found["input"]), "wanted": wanted, **context}
        refusals.append(InputError(field or "the file", problem, accepted, **values))
    return refusals


def _path(location: tuple[int | str, ...], given: Any) -> str:
    """Write the place of a problem as the file has it: pydantic adds a section's type behind one of several types."""
    names: list[str] = []
    is_type = False
    for name in location:
        is_type = not is_type and isinstance(given, Mapping) and name == given.get("kind")
        if is_type:
            continue
        names.append(str(name))
        try:
            given = given[name]
        except (IndexError, KeyError, TypeError):
            given = None
    return ".".join(names)
