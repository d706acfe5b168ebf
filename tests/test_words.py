"""Docstrings say what functions do, in the field's words; docs/glossary.md has these."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

import omniup

SOURCE = Path(omniup.__file__).parent
BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "omniup_bench"
FILES = sorted(SOURCE.rglob("*.py")) + sorted(BENCHMARK.rglob("*.py"))

#: No docstring opens so: it would be a riddle until its end.
RIDDLES = re.compile(r"(What|Which|Where|When|Why|How|Who|Whose|Whether|Of|If|As|Like|The same|The one)\b")

#: Docstrings of functions open with a verb, so with none of these.
NO_VERBS = re.compile(
    r"((A|An|The|It|Its|That|This|These|Those|They|Their|There|Each|Every|All|Any|One|Two|Some|No|None|Not|In|On|At|By|"
    r"For|From|To|With|So)\b|\W|\d)"
)

#: Words that the glossary replaces, in docstrings, comments and messages, and what to write instead.
REPLACED = {
    r"told|tells? (of|the|what|how|whether|that|if)|tell (apart|them)|tells apart": "reported, given, distinguish",
    r"(bring|brings|brought) (\w+ ){0,3}(up|to (a|the) (size|grid|resolution|pixels))|brought up": "upsample, resize",
    r"(is|are|to be|be) made small(er)?": "minimised",
    r"calm|calmed": "denoised",
    r"slabs?": "bands, strips",
    r"votes?": "0/1 maps",
    r"how sure|sure of": "confidence",
    r"likeliest": "argmax, most probable",
    r"judges?|judged|judgements?": "discriminator, loss, measure",
    r"alike": "similar, in the same way",
    r"shares of": "fractions, probabilities",
}

#: The same in names, cut at underscores and capitals.
REPLACED_NAMES = {
    *(
        "told",
        "tell",
        "calm",
        "calmed",
        "sure",
        "slab",
        "votes",
        "vote",
        "shares",
        "share",
        "alike",
        "judge",
        "judgement",
    ),
}

#: Names that are public, by the files that have them.
PUBLIC = {("web/schemas.py", "share")}  # a field of the API

#: Words of many meanings, and the files in which they have the glossary's.
ONE_MEANING = {
    "kind": {  # of a record that is one of several variants
        *(f"restoration/degradation/{name}.py" for name in ("config", "draws", "kernels", "noise")),
        *(
            "jobs/configuration.py",
            "training/anyup/configuration.py",
            "web/schemas.py",
            "web/upsampling.py",
            "omniup_bench/records.py",
        ),
    },
    "precision": {  # the floating-point type that a network computes in; or a precision matrix
        *(
            "cli/restore.py",
            "restoration/enhancer.py",
            "restoration/models.py",
            "restoration/restorer.py",
            "training/hypir/configuration.py",
            "training/settings.py",
        ),
        "training/refiner/trainer.py",
        "training/restorer/configuration.py",
        *(f"cli/{name}.py" for name in ("encoding", "features", "options", "probe", "probe_record", "video")),
        *("encoders/dense.py", "jobs/configuration.py", "upsamplers/anyup/upsampler.py", "upsamplers/ensemble.py"),
        *("upsamplers/gaussian_kernels.py", "web/schemas.py"),
    },
}


def _definitions(tree):
    """Yield what has a docstring, with it."""
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if text := ast.get_docstring(node):
            yield node, text


def _is_function(node):
    decorators = [ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])]
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not any("property" in d for d in decorators)


def _texts(tree, source):
    """Yield comments, docstrings and all other strings, such as messages and help texts, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _names(tree):
    """Yield the names that a file defines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def _find(source, file="module.py"):
    """List what to change in a file."""
    tree = ast.parse(source)
    found = []
    for node, text in _definitions(tree):
        if RIDDLES.match(text) or (_is_function(node) and NO_VERBS.match(text)):
            found.append(f"{getattr(node, 'lineno', 1)}: opens with {' '.join(text.split()[:3])!r}")
    for line, text in _texts(tree, source):
        if line > 1 and RIDDLES.match(text.removeprefix("#: ")):
            found.append(f"{line}: opens with {' '.join(text.split()[:3])!r}")
        for words, instead in REPLACED.items():
            if match := re.search(rf"\b({words})\b", text):
                found.append(f"{line}: {match[0]!r}; accepted: {instead}")
    for name in sorted(set(_names(tree))):
        parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
        if parts & REPLACED_NAMES and (file, name) not in PUBLIC:
            found.append(f"the name {name}")
        singular = {part.removesuffix("s") for part in parts}
        found += [
            f"the name {name}; accepted: {word} in the glossary's meaning, and its file in ONE_MEANING"
            for word, files in ONE_MEANING.items()
            if word in singular and file not in files
        ]
    return found


def _name(path):
    """Return the path of a file in its package."""
    return path.relative_to(SOURCE if path.is_relative_to(SOURCE) else BENCHMARK.parent).as_posix()


@pytest.mark.parametrize("path", FILES, ids=lambda path: _name(path))
def test_docstrings_comments_and_names(path):
    found = _find(path.read_text(), _name(path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('def f():\n    """Whether it fits."""\n', 2),  # as a docstring, and as a text
        ('def f():\n    """A function."""\n', 1),
        ('class A:\n    """A class."""\n', 0),
        ('def f():\n    """Return an offset of what is left."""\n', 0),
        ('"""What is made small."""\n', 2),
        ("# the map is brought up\n", 1),
        ("def f(votes):\n    calm_cells = votes\n", 2),
        ("def f(kind):\n    return kind\n", 1),
        ('raise InputError("signal", "is brought up twice", "one")\n', 1),
    ],
)
def test_the_check_finds_what_it_should(source, count):
    assert len(_find(source)) == count
