"""The rooms of the build stage and of the service, and the arrows between them: imports run downwards only."""

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import poem_build
import poem_service
from poem_build.store.stage import Stage

BESIDE = {"client", "errors", "progress"}
"""Modules beside the rooms of the build, which all of these may use."""
# Top to bottom. A room imports what stands below it in its line, and itself.
BUILD_ROOMS: dict[str, set[str]] = {
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
    "train": {"data", "plan", "teacher", "models", "store", "recipe"},
    "plan": {"data", "teacher", "models", "recipe"},
    "data": {"teacher", "models", "store", "recipe"},
    "teacher": {"store", "recipe"},
    "models": {"store", "recipe"},
    "store": {"recipe"},
    "recipe": set(),
}
BUILD: dict[str, set[str]] = {room: below | BESIDE for room, below in BUILD_ROOMS.items()} | {
    name: set() for name in BESIDE
}
SERVICE: dict[str, set[str]] = {
    "__main__": {"doctor", "run", "errors"},
    "run": {"app", "web", "service", "record", "settings", "variables", "errors"},
    "doctor": {"app", "web", "service", "game", "request", "engine", "record", "settings", "variables", "errors"},
    "app": {"web", "service", "settings", "variables", "errors"},
    "web": {"service", "request", "watch", "record", "settings", "variables", "errors"},
    "service": {"game", "request", "watch", "engine", "record", "settings", "variables", "errors"},
    "request": {"watch", "engine", "record", "settings", "variables", "errors"},
    "watch": {"engine", "errors"},
    "game": {"settings", "variables", "errors"},
    "engine": {"record", "settings", "variables", "errors"},
    "record": {"errors"},
    "settings": {"variables", "errors"},
    "variables": set(),
    "errors": set(),
}
LINES = 300
PACKAGES = pytest.mark.parametrize("package", [poem_build, poem_service], ids=["build", "service"])
ARROWS = pytest.mark.parametrize(
    ("package", "arrows"), [(poem_build, BUILD), (poem_service, SERVICE)], ids=["build", "service"]
)


def folder(package: ModuleType) -> Path:
    """Where a package lies."""
    return Path(str(package.__file__)).parent


def modules_imported(path: Path, package: str) -> set[str]:
    """The modules of a package that one of its modules names in its imports, at the top or inside."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith(f"{package}.")}


def stages() -> set[str]:
    """The modules of the build that hold a stage, or make one."""
    found = set()
    for path in folder(poem_build).glob("*/*.py"):
        name = f"poem_build.{path.parent.name}.{path.stem}"
        if "Stage(\n" in path.read_text("utf-8"):
            module = importlib.import_module(name)
            assert isinstance(getattr(module, "STAGE", None), Stage) or callable(
                getattr(module, "stage", getattr(module, "_stage", None))
            ), name
            found.add(name)
    return found


@ARROWS
def test_the_arrows_run_downwards(package: ModuleType, arrows: dict[str, set[str]]) -> None:
    order = list(arrows)
    assert all(order.index(below) > order.index(room) for room, allowed in arrows.items() for below in allowed)


@ARROWS
def test_imports_follow_the_arrows(package: ModuleType, arrows: dict[str, set[str]]) -> None:
    wrong = []
    for path in folder(package).rglob("*.py"):
        room = path.relative_to(folder(package)).parts[0].removesuffix(".py")
        rooms = {name.split(".")[1] for name in modules_imported(path, package.__name__)}
        allowed = arrows[room] | {room} if room != "__init__" else set()
        wrong += [(str(path), name) for name in rooms - allowed]
    assert wrong == []


def test_no_stage_imports_a_stage() -> None:
    known = stages()
    assert len(known) == 17
    for name in known:
        path = folder(poem_build).joinpath(*name.split(".")[1:]).with_suffix(".py")
        assert modules_imported(path, "poem_build") & known == set(), name


def test_no_module_of_the_build_is_long() -> None:
    counted = {path: len(path.read_text("utf-8").splitlines()) for path in folder(poem_build).rglob("*.py")}
    assert {path: lines for path, lines in counted.items() if lines > LINES} == {}


@PACKAGES
def test_every_room_says_in_one_sentence_what_it_is_and_exports_nothing(package: ModuleType) -> None:
    for path in [folder(package) / "__init__.py", *folder(package).glob("*/__init__.py")]:
        tree = ast.parse(path.read_text("utf-8"))
        assert len(tree.body) == 1, path
        assert "→" in (ast.get_docstring(tree) or ""), path


@PACKAGES
def test_tests_stand_in_the_same_rooms(package: ModuleType) -> None:
    rooms = {path.parent.name for path in folder(package).glob("*/__init__.py")}
    there = {path.name for path in Path(__file__).with_name(package.__name__).iterdir() if path.is_dir()}
    assert {name for name in there if name[0] != "_"} - {"golden"} == rooms
