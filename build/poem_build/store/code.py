"""A module → digests of the code that runs when it does: its own and that of what it imports of ours.

Comments, docstrings and layout do not count, so only a change that can change a result changes a digest.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import cast

PACKAGES = ("poem", "poem_build")
FRAME = (
    *("poem_build.store", "poem_build.recipe", "poem_build.plan", "poem_build.errors", "poem_build.progress"),
    "poem.errors",
)
"""What carries a stage's work about or asks whether there is room for it, and has no part in its result: what a recipe
says stands in the key itself."""


def code_digests(module: str) -> dict[str, str]:
    """16 hex digits for the module and each module of ours that it imports, however deep, the frame aside, by name."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and not name.startswith(FRAME):
            found[name], imports = _read(name)
            waiting += imports
    return dict(sorted(found.items()))


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(_source(module).read_text("utf-8"))
    imports = tuple(dict.fromkeys(_imports(tree)))
    return hashlib.sha256(ast.dump(_bare(tree)).encode()).hexdigest()[:16], imports


def _imports(tree: ast.Module) -> Iterator[str]:
    """Modules of ours that the code imports, inside functions too; what is imported for types alone does not run."""
    for node in _running(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if _is_module(inner) else node.module


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _running(child)


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without its docstrings and other texts that stand alone."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [one for one in body if not _is_text(one)]
            cast(ast.Module, node).body = kept or [ast.Pass()]
    return tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


@cache
def _is_module(name: str) -> bool:
    parent = name.rpartition(".")[0]
    return _source(parent).name == "__init__.py" and importlib.util.find_spec(name) is not None


def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None, module
    return Path(spec.origin)
