"""Translate answers for the reader: English, or Chinese by the catalogue `messages_zh.json`.

A request says its language in Accept-Language. The guard of the server keeps it in `LANGUAGE`, from where it reaches
the threads that work for the request, since these take over its context.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from omniup.errors import InputError

Language = Literal["en", "zh"]

LANGUAGE: ContextVar[Language] = ContextVar("language", default="en")
"""Language of the request that is being answered."""

_CATALOGUE: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("messages_zh.json").read_text("utf-8"))
ARGUMENTS, TEMPLATES, PYDANTIC = (_CATALOGUE[part] for part in ("arguments", "templates", "pydantic"))
"""Chinese: names of arguments that are words, templates by the English ones, and pydantic's messages by their types."""


def choose_language(header: str) -> Language:
    """Choose the language of the largest weight in an Accept-Language header; English if it has neither."""
    weights: dict[Language, float] = {"en": 0.0, "zh": 0.0}
    for part in header.lower().split(","):
        name, _, weight = part.strip().partition(";")
        quality = re.fullmatch(r"\s*q\s*=\s*([01](\.\d*)?)\s*", weight)
        for language in weights:
            if re.fullmatch(rf"{language}(-.*)?", name.strip()):
                weights[language] = max(weights[language], float(quality[1]) if quality else 1.0)
    return "zh" if weights["zh"] > weights["en"] else "en"


def translated(template: str) -> str:
    """Translate a template, or a text without replacement fields, to the reader's language."""
    return TEMPLATES.get(template, template) if LANGUAGE.get() == "zh" else template


def parts(error: InputError) -> dict[str, str]:
    """Return a refusal's argument as it is, its problem and what is accepted in the reader's language."""
    problem, accepted = (translated(each).format(**error.values) for each in (error.problem, error.accepted))
    return {"argument": error.argument, "problem": problem, "accepted": accepted}


def said(error: InputError) -> str:
    """Format a refusal as one sentence in the reader's language."""
    return str(error) if LANGUAGE.get() == "en" else _sentence(**parts(error))


def validation_parts(field: str, found: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Translate a problem that pydantic found with a field to the reader's language.

    Args:
        field: its name.
        found: one of the `errors()` of a validation.

    Returns:
        A sentence, and its parts.
    """
    context = found.get("ctx", {})
    if isinstance(inner := context.get("error"), InputError):  # raised by a validator of ours
        return said(inner), parts(inner)
    if LANGUAGE.get() == "en":
        problem = found["msg"]
    else:
        values = {name: re.sub(r"(?<=') or (?=')", " 或 ", str(value)) for name, value in context.items()}
        problem = PYDANTIC.get(found["type"], PYDANTIC["any"]).format(**values, type=found["type"])
    return problem, {"argument": field, "problem": problem, "accepted": ""}


def _sentence(argument: str, problem: str, accepted: str) -> str:
    text = f"{ARGUMENTS.get(argument, argument)} {problem}"
    return f"{text}；可接受：{accepted}" if accepted else text
