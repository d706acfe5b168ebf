import ast
from pathlib import Path
from string import Formatter

import omniup_bench
from omniup import errors
from support.templates import templates

FILES = sorted(Path(omniup_bench.__file__).parent.rglob("*.py"))


def test_every_refusal_names_argument_problem_and_what_is_accepted():
    calls = [(path, each) for path in FILES for each in ast.walk(ast.parse(path.read_text("utf-8")))]
    refusals = [(path, each) for path, each in calls if getattr(getattr(each, "func", None), "id", "") == "InputError"]
    assert len(refusals) > 15
    for path, call in refusals:
        assert len(call.args) == 3, f"{path}:{call.lineno}"
        given = {keyword.arg for keyword in call.keywords}
        literals = [each.value for each in call.args[1:] if isinstance(each, ast.Constant)]
        used = {name for text in literals for _, name, _, _ in Formatter().parse(text) if name is not None}
        assert used <= given, f"{path}:{call.lineno}"


def test_templates_are_literals():
    assert len(templates([Path(errors.__file__), *FILES])) > 20
