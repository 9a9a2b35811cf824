"""The house rules (docs/house.md), held by reading the source with `ast`."""

from __future__ import annotations

import ast
import functools
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"
PACKAGE = SRC / "emlyn"
FLOORS = [
    {"errors", "types", "context", "events", "plugins"},
    {"records"},
    {"core"},
    {"stages", "tasks", "learners", "checks", "readers", "explainers", "exporters", "executors", "ideas", "service", "report", "samples"},
    {"engineer", "estimators"},
    {"doors", "testing", "__main__"},
]
PUBLIC_FACES = {"emlyn.doors.python", "emlyn.doors.cli.train", "emlyn.estimators"}
"""Faces that fill one options record at once are exempt from the limit on parameters."""
BROAD_EXCEPT_ALLOWED = ("core/executor.py", "executors/", "plugins.py", "doors/")
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[str]:
    """Every emlyn module that a file imports, function-level imports counted, annotations-only imports left out."""
    names = MODULES

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from (a.name for a in child.names if a.name.split(".")[0] == "emlyn")
            elif isinstance(child, ast.ImportFrom) and (child.module or "").split(".")[0] == "emlyn":
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    yield whole if whole in names else str(child.module)
            yield from visit(child)

    yield from visit(tree_of(path))


def floor_of(module: str) -> tuple[int, str]:
    room = module.split(".")[1] if "." in module else ""
    for i, rooms in enumerate(FLOORS):
        if room in rooms:
            return i, room
    raise AssertionError(f"{module} stands outside the house: give {room!r} a floor in tests/test_house.py")


MODULES = {module_of(p) for p in FILES}
INSIDE = [p for p in FILES if p != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", INSIDE, ids=module_of)
def test_imports_point_downwards(path: Path) -> None:
    module = module_of(path)
    floor, room = floor_of(module)
    for target in imports_of(path):
        if target == "emlyn":
            continue  # the version
        below, other = floor_of(target)
        siblings_may_meet = floor in (0, 1, 2, 4, 5) and below == floor
        inside_one_room = room == other and (room not in ("stages", "learners", "checks", "tasks") or _is_helper(target))
        assert below < floor or siblings_may_meet or inside_one_room, (
            f"{module} imports {target}: imports point downwards, siblings never import each other"
        )


def _is_helper(module: str) -> bool:
    """A module whose name begins with an underscore is the private furniture of its room."""
    return module.rsplit(".", 1)[-1].startswith("_")


def test_no_import_cycle_of_any_kind() -> None:
    edges = {module_of(p): set(imports_of(p)) - {module_of(p), "emlyn"} for p in INSIDE}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "import cycle: " + " -> ".join((*path[path.index(module) :], module))
        if module in done:
            return
        for target in edges.get(module, ()):
            walk(target, (*path, module))
        done.add(module)

    for module in edges:
        walk(module, ())


def code_lines(path: Path) -> set[int]:
    """Line numbers that hold code: no blank lines, comments or docstrings."""
    lines: set[int] = set()
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}
    text = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skip:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_sizes(path: Path) -> None:
    lines = code_lines(path)
    assert len(lines) <= 400, f"{module_of(path)} has {len(lines)} code lines; a file has at most 400"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            size = len(lines & set(range(node.lineno, (node.end_lineno or 0) + 1)))
            most = 350 if isinstance(node, ast.ClassDef) else 80
            assert size <= most, f"{module_of(path)}.{node.name} has {size} code lines; at most {most}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_few_parameters(path: Path) -> None:
    if module_of(path) in PUBLIC_FACES or module_of(path).startswith("emlyn.doors.cli"):
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            a = node.args
            names = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in ("self", "cls")]
            assert len(names) <= 8, f"{module_of(path)}.{node.name} has {len(names)} parameters; at most 8"


@functools.cache
def takers_of_kwargs() -> frozenset[str]:
    return frozenset(n.name for p in FILES for n in ast.walk(tree_of(p)) if isinstance(n, ast.FunctionDef) and n.args.kwarg)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_kwargs_through_two_calls(path: Path) -> None:
    """A function that takes **kwargs hands them on at most to a class or a library, never to another emlyn function that takes **kwargs."""
    takers = takers_of_kwargs()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef) and node.args.kwarg:
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and any(k.arg is None and getattr(k.value, "id", "") == node.args.kwarg.arg for k in call.keywords):
                    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
                    assert name not in takers - {"replace"}, f"{module_of(path)}.{node.name} passes **{node.args.kwarg.arg} on to {name}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_broad_except_and_nothing_swallowed(path: Path) -> None:
    where = path.relative_to(PACKAGE).as_posix()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            caught = {getattr(n, "id", "") for n in ast.walk(node.type)} if node.type else {"Exception"}
            if caught & {"Exception", "BaseException"}:
                assert where.startswith(BROAD_EXCEPT_ALLOWED), f"{where}:{node.lineno} catches everything"
            assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), f"{where}:{node.lineno} swallows an error in silence"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_loaded_can_run_code(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name.split(".")[0] for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module.split(".")[0]]
        assert not {"pickle", "joblib", "cloudpickle", "marshal", "dill", "shelve"} & set(names), f"{module_of(path)}:{node.lineno} imports {names}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{module_of(path)}:{node.lineno} calls {node.func.id}"


@pytest.mark.parametrize("module", ["emlyn", "emlyn.doors.cli"])
def test_light_imports(module: str) -> None:
    """What is imported first loads no heavy library."""
    heavy = {"sklearn", "pandas", "torch", "scipy", "numpy", "pyarrow", "sqlalchemy", "plotly"}
    code = f"import {module}, sys; print(' '.join(sorted({heavy} & set(sys.modules))))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == [], f"import {module} loads {said}"


def test_dataframe_libraries_stay_at_the_edges() -> None:
    edges = ("core/tables/frames.py", "core/tables/blocks.py", "readers/", "learners/", "doors/", "estimators.py", "exporters/")
    for path in FILES:
        where = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(tree_of(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.split(".")[0] in ("pandas", "polars", "narwhals", "pyarrow", "duckdb"):
                    assert where.startswith(edges), (
                        f"{where} imports {name}: dataframe libraries stay in core/tables/frames.py and blocks.py, readers and learner adapters"
                    )
