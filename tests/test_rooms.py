"""The rooms of the build stage and the arrows between them: downwards only, and no stage imports a stage."""

import ast
import importlib
from pathlib import Path

import poem_build
from poem_build.store.stage import Stage

PACKAGE = Path(poem_build.__file__).parent
BESIDE = {"client", "errors", "progress"}
"""Modules beside the rooms, which all of these may use."""
# Top to bottom. A room imports what stands below it in its line, and itself.
ARROWS: dict[str, set[str]] = {
    "cli": {
        *("ship", "report", "evaluation", "judge", "export", "engine", "train", "data", "plan", "teacher", "models"),
        *("store", "recipe"),
    },
    "ship": {"judge", "export", "engine", "data", "plan", "models", "store", "recipe"},
    "report": {"evaluation", "judge", "export", "engine", "data", "plan", "teacher", "models", "store", "recipe"},
    "evaluation": {"judge", "export", "engine", "train", "data", "teacher", "models", "store", "recipe"},
    "judge": {"export", "engine", "data", "plan", "models", "store", "recipe"},
    "export": {"engine", "data", "plan", "models", "store", "recipe"},
    "engine": {"models", "recipe"},
    "train": {"data", "teacher", "models", "store", "recipe"},
    "data": {"teacher", "models", "store", "recipe"},
    "plan": {"teacher", "models", "recipe"},
    "teacher": {"store", "recipe"},
    "models": {"store", "recipe"},
    "store": {"recipe"},
    "recipe": set(),
}
LINES = 300


def modules_imported(path: Path) -> set[str]:
    """The modules of ours that a module names in its imports, at the top or inside."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith("poem_build.")}


def stages() -> set[str]:
    """The modules that hold a stage, or make one."""
    found = set()
    for path in PACKAGE.glob("*/*.py"):
        name = f"poem_build.{path.parent.name}.{path.stem}"
        if "Stage(\n" in path.read_text("utf-8"):
            module = importlib.import_module(name)
            assert isinstance(getattr(module, "STAGE", None), Stage) or callable(
                getattr(module, "stage", getattr(module, "_stage", None))
            ), name
            found.add(name)
    return found


def test_the_arrows_run_downwards() -> None:
    order = list(ARROWS)
    assert all(order.index(below) > order.index(room) for room, allowed in ARROWS.items() for below in allowed)


def test_imports_follow_the_arrows() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        rooms = {name.split(".")[1] for name in modules_imported(path)}
        allowed = ARROWS[room] | BESIDE | {room} if room in ARROWS else set()
        wrong += [(str(path.relative_to(PACKAGE)), name) for name in rooms - allowed]
    assert wrong == []


def test_no_stage_imports_a_stage() -> None:
    known = stages()
    assert len(known) == 17
    for name in known:
        path = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
        assert modules_imported(path) & known == set(), name


def test_no_module_is_long() -> None:
    long = {path.name: lines for path in PACKAGE.rglob("*.py") if (lines := len(path.read_text().splitlines())) > LINES}
    assert long == {}


def test_every_room_says_in_one_sentence_what_it_is_and_exports_nothing() -> None:
    for path in [PACKAGE / "__init__.py", *PACKAGE.glob("*/__init__.py")]:
        tree = ast.parse(path.read_text("utf-8"))
        assert len(tree.body) == 1, path
        assert "→" in (ast.get_docstring(tree) or ""), path


def test_tests_stand_in_the_same_rooms() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    there = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert there - {"golden"} <= rooms
