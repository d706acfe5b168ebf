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
from string import Formatter
from typing import Any, Literal

from omniup.errors import InputError

Language = Literal["en", "zh"]

LANGUAGE: ContextVar[Language] = ContextVar("language", default="en")
"""Language of the request that is being answered."""

_CATALOGUE: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("messages_zh.json").read_text("utf-8"))
ARGUMENTS, TEMPLATES, PYDANTIC = (_CATALOGUE[part] for part in ("arguments", "templates", "pydantic"))
"""Chinese: names of arguments that are words, templates by the English ones, and pydantic's messages by their types."""

_PHRASES = [(re.compile(english), chinese) for english, chinese in _CATALOGUE["phrases"].items()]
"""Texts of ours that fill the gaps of templates, as regular expressions; groups are translated likewise."""

_ORIGINAL = "原因见英文详情"
"""Chinese in place of what a library or the system says in English."""

_ENGLISH = re.compile(r"[A-Za-z]{2,}[ ,:;]+[a-z]{2,}[ ,:;]+[a-z]{2,}")
"""Three English words in a row."""


_IDEOGRAPH = re.compile("[\u4e00-\u9fff]")


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
    problem, accepted = (_filled(each, error.values, []) for each in (error.problem, error.accepted))
    return {"argument": error.argument, "problem": problem, "accepted": accepted}


def texts(error: InputError) -> dict[str, str]:
    """Return a refusal as one sentence in both languages, for a page whose language may change.

    `details` has what the Chinese sentence leaves out: what a library or the system says in English.
    """
    details: list[str] = []
    return {"en": str(error), "zh": _chinese_sentence(error, details), "details": "\n".join(details)}


def phrases(template: str, **values: Any) -> dict[str, str]:
    """Fill a text that is no refusal, in both languages, as `texts`."""
    details: list[str] = []
    chinese = _chinese(template, values, details)
    return {"en": template.format(**values), "zh": chinese, "details": "\n".join(details)}


def _filled(template: str, values: Mapping[str, Any], details: list[str]) -> str:
    return template.format(**values) if LANGUAGE.get() == "en" else _chinese(template, values, details)


def _chinese(template: str, values: Mapping[str, Any], details: list[str]) -> str:
    translation = TEMPLATES.get(template, template)
    gaps = {name for _, name, _, _ in Formatter().parse(translation) if name}
    return translation.format(**{name: _value(values[name], details) for name in sorted(gaps)})


def _chinese_sentence(error: InputError, details: list[str]) -> str:
    problem, accepted = (_chinese(each, error.values, details) for each in (error.problem, error.accepted))
    return _sentence(error.argument, problem, accepted)


def _value(value: Any, details: list[str]) -> Any:
    """Translate what fills a gap, as far as it is text of ours; other English goes to the details."""
    if isinstance(value, InputError):
        return _chinese_sentence(value, details)
    if not isinstance(value, (str, Exception)):
        return value
    text = str(value)
    for pattern, chinese in _PHRASES:
        if match := pattern.fullmatch(text):
            return chinese.format(*(_value(group or "", details) for group in match.groups()))
    if not _ENGLISH.search(text):
        return value if isinstance(value, str) else text
    details.append(text)
    return _ORIGINAL


def said(error: InputError) -> str:
    """Format a refusal as one sentence in the reader's language."""
    return str(error) if LANGUAGE.get() == "en" else _sentence(*parts(error).values())


def validation_parts(field: str, found: Mapping[str, Any]) -> tuple[str, dict[str, str], dict[str, str]]:
    """Translate a problem that pydantic found with a field to the reader's language.

    Args:
        field: its name.
        found: one of the `errors()` of a validation.

    Returns:
        A sentence, its parts, and the sentence in both languages.
    """
    context = found.get("ctx", {})
    if isinstance(inner := context.get("error"), InputError):  # raised by a validator of ours
        return said(inner), parts(inner), texts(inner)
    values = {name: re.sub(r"(?<=') or (?=')", " 或 ", str(value)) for name, value in context.items()}
    chinese = PYDANTIC.get(found["type"], PYDANTIC["any"]).format(**values, type=found["type"])
    both = {"en": found["msg"], "zh": chinese, "details": ""}
    problem = both[LANGUAGE.get()]
    return problem, {"argument": field, "problem": problem, "accepted": ""}, both


def _sentence(argument: str, predicate: str, noun: str) -> str:
    name = ARGUMENTS.get(argument, argument)
    space = "" if _IDEOGRAPH.match(name[-1:]) and _IDEOGRAPH.match(predicate) else " "
    text = f"{name}{space}{predicate}"
    return f"{text}；可接受：{noun}" if noun else text
