"""Find the templates of refusals in source files, wherever they are written and through whatever they are passed."""

import ast
from collections.abc import Iterator
from pathlib import Path

TEMPLATES = ("problem", "accepted")
"""The parameters that carry templates, of `InputError` and of every function and class that passes them on."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def templates(files: list[Path]) -> dict[str, str]:
    """Give every template of some files with the place where it is used.

    Raises:
        AssertionError: something that is passed as a template is no literal, and so cannot be translated.
    """
    sources = {path: path.read_text("utf-8") for path in files}
    trees = {path: ast.parse(source) for path, source in sources.items()}
    own = {path: _carriers([tree]) if "InputError" in sources[path] else {} for path, tree in trees.items()}
    public = _carriers(tree for path, tree in trees.items() if "InputError" in sources[path])
    public = {name: positions for name, positions in public.items() if not name.startswith("_")}
    constants = {name: texts for tree in trees.values() for name, texts in _assigned(tree.body).items()}
    found: dict[str, str] = {}
    for path, tree in trees.items():
        for call, scopes in _calls(tree):
            name, place = getattr(call.func, "id", getattr(call.func, "attr", "")), f"{path}:{call.lineno}"
            local = {each: texts for scope in scopes for each, texts in _assigned(ast.walk(scope)).items()}
            parameters = {each for scope in scopes for each, _ in _parameters(scope)}
            for argument in _passed(call, (public | own[path]).get(name, {})):
                found |= dict.fromkeys(_texts(argument, constants | local, parameters, place), place)
        functions = [each for each in ast.walk(tree) if isinstance(each, Function)]
        for function in functions if "InputError" in sources[path] else []:
            for _, default in _parameters(function):
                found |= dict.fromkeys(default, f"{path}:{function.lineno}")
    found.pop("", None)
    return found


def _carriers(trees) -> dict[str, dict[str, int | None]]:
    """By the names of functions and classes, the positions of their parameters that carry templates."""
    carriers: dict[str, dict[str, int | None]] = {}
    classes: list[ast.ClassDef] = []
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes.append(node)
                makers = [each for each in node.body if isinstance(each, Function) and each.name == "__init__"]
                methods = {each for each in node.body if isinstance(each, Function)}
                for method in methods:
                    name = node.name if method in makers else method.name
                    _carry(carriers, name, _positions(method, bound=True))
            elif isinstance(node, Function):
                _carry(carriers, node.name, _positions(node, bound=False))  # methods are known by then
    for _ in classes:  # subclasses without a constructor of their own, however deep
        for node in classes:
            for base in node.bases:
                if node.name not in carriers and getattr(base, "id", "") in carriers:
                    carriers[node.name] = carriers[getattr(base, "id", "")]
    return carriers


def _carry(carriers: dict[str, dict[str, int | None]], name: str, positions: dict[str, int | None]) -> None:
    if positions and name not in carriers:
        carriers[name] = positions


def _positions(function: Function, *, bound: bool) -> dict[str, int | None]:
    placed = [*function.args.posonlyargs, *function.args.args][1 if bound else 0 :]
    found: dict[str, int | None] = {each.arg: index for index, each in enumerate(placed) if each.arg in TEMPLATES}
    return found | {each.arg: None for each in function.args.kwonlyargs if each.arg in TEMPLATES}


def _parameters(function: Function) -> Iterator[tuple[str, list[str]]]:
    """The parameters that carry templates, with the templates that they have by default."""
    signature = function.args
    placed = [*signature.posonlyargs, *signature.args]
    defaults = [None] * (len(placed) - len(signature.defaults)) + signature.defaults
    for each, default in zip([*placed, *signature.kwonlyargs], [*defaults, *signature.kw_defaults], strict=True):
        if each.arg in TEMPLATES:
            yield each.arg, (default and _literals(default)) or []


def _calls(tree: ast.Module) -> Iterator[tuple[ast.Call, list[Function]]]:
    """Every call, with the functions that it stands in."""

    def below(node: ast.AST, scopes: list[Function]) -> Iterator[tuple[ast.Call, list[Function]]]:
        inner = [*scopes, node] if isinstance(node, Function) else scopes
        if isinstance(node, ast.Call):
            yield node, scopes
        for child in ast.iter_child_nodes(node):
            yield from below(child, inner)

    return below(tree, [])


def _passed(call: ast.Call, positions: dict[str, int | None]) -> Iterator[ast.expr]:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    for name, position in positions.items():
        if name in named:
            yield named[name]
        elif position is not None and position < len(call.args):
            yield call.args[position]


def _assigned(nodes) -> dict[str, list[str]]:
    """The texts that are assigned to names, of each name all of them."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for name, value in pairs:
                if isinstance(name, ast.Name) and (texts := _literals(value)) is not None:
                    found.setdefault(name.id, []).extend(texts)
    return found


def _literals(node: ast.expr) -> list[str] | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        either, other = _literals(node.body), _literals(node.orelse)
        return None if either is None or other is None else [*either, *other]
    return None


def _texts(node: ast.expr, names: dict[str, list[str]], parameters: set[str], place: str) -> list[str]:
    if (texts := _literals(node)) is not None:
        return texts
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    passes_on = isinstance(node, ast.Name) and node.id in parameters
    of_another = isinstance(node, ast.Attribute) and node.attr in TEMPLATES  # `error.problem`, `self.accepted`
    assert passes_on or of_another, f"{place}: {ast.unparse(node)} is no literal"
    return []
