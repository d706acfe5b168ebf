"""Settings in YAML: models of their fields, and how a file is read and refused, a line for each field."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from omniup.errors import InputError
from omniup.files.sources import Source, open_source, stream_size

MAX_FILE_BYTES = 2**20
"""The largest file that is read."""

MAX_PROBLEMS = 8
"""How many fields a refusal names."""


class Section(BaseModel):
    """A part of the settings, with these fields and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        """Refuse unknown fields in words that say which there are; pydantic's do not."""
        if isinstance(given, Mapping) and (unknown := [str(name) for name in given if name not in cls.model_fields]):
            raise ValueError(
                f"there is no field {', '.join(unknown[:MAX_PROBLEMS])}; accepted: {', '.join(cls.model_fields)}"
            )
        return given


Settings = TypeVar("Settings", bound=Section)


def read_settings(kind: type[Settings], source: Source, changes: Mapping[str, Any] | None = None) -> Settings:
    """Read settings.

    Args:
        kind: which fields there are. Of a file its validators are told the `folder`, as context.
        source: YAML, at most `MAX_FILE_BYTES`; what it does not name keeps its default.
        changes: values that stand in for the file's, by their paths, e.g. `{"optimiser.learning_rate": 1e-4}`.

    Raises:
        InputError: the source cannot be read or is not YAML, or a field is unknown, missing or impossible; a line for
            each, which names the field and what is accepted.
    """
    accepted = f"YAML with the fields {', '.join(kind.model_fields)}"
    with open_source(source, noun=kind.__name__.lower(), accepted=accepted) as (stream, subject):
        if stream_size(stream) > MAX_FILE_BYTES:
            raise subject.refusal(f"is larger than {MAX_FILE_BYTES} bytes")
        with subject.attempt("read"):
            given = yaml.safe_load(stream)
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise subject.refusal("holds no fields")
    for field, value in (changes or {}).items():
        _change(given, field, value)
    folder = {"folder": Path(source).parent} if isinstance(source, (str, Path)) else {}
    try:
        return kind.model_validate(given, context=folder)
    except ValidationError as error:
        raise InputError(";\n".join(f"{subject.name}: {refusal}" for refusal in _refusals(error, given))) from error


def _change(given: Any, field: str, value: Any) -> None:
    """Put a value where a path such as `backbones.0.patch` leads; sections that are not there yet are made."""
    *parents, last = field.split(".")
    try:
        for name in parents:
            given = given[int(name)] if isinstance(given, list) else given.setdefault(name, {})
        given[int(last) if isinstance(given, list) else last] = value
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{field}: there is no such place in the configuration") from error


#: What to say of a field, where pydantic's own words would not fit in.
_WORDS = {
    "value_error": "{error}",
    "missing": "is missing",
    "model_type": "is {input}; accepted: fields",
    "too_short": "has {actual_length} entries; accepted: at least {min_length}",
    "too_long": "has {actual_length} entries; accepted: at most {max_length}",
    "union_tag_not_found": "kind is missing",
    "union_tag_invalid": "kind is {tag!r}; accepted: {expected_tags}",
}


def _refusals(error: ValidationError, given: Any) -> list[str]:
    """Put what pydantic found in a line for each field."""
    lines = []
    for problem in error.errors(include_url=False)[:MAX_PROBLEMS]:
        field = _path(problem["loc"], given)
        wanted = problem["msg"].removeprefix("Input should be ")
        words = _WORDS.get(problem["type"], "is {input}; accepted: {wanted}")
        text = words.format(input=reprlib.repr(problem["input"]), wanted=wanted, **problem.get("ctx", {}))
        lines.append(f"{field}: {text}" if field else text)
    return lines


def _path(location: tuple[int | str, ...], given: Any) -> str:
    """Write where a problem is as the file has it: behind a section of one of several kinds, pydantic puts its kind."""
    names = []
    for name in location:
        if isinstance(given, Mapping) and name == given.get("kind"):
            continue
        names.append(str(name))
        try:
            given = given[name]
        except (IndexError, KeyError, TypeError):
            given = None
    return ".".join(names)
