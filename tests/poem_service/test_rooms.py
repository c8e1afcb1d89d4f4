"""The rooms of the service and the arrows between them: imports run downwards only."""

import ast
from pathlib import Path

import poem_service

PACKAGE = Path(poem_service.__file__).parent
# Top to bottom. A room imports what stands below it in its line, and itself.
ARROWS: dict[str, set[str]] = {
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


def rooms_imported(path: Path) -> set[str]:
    """The rooms that a module names in its imports, at the top or inside."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module] if node.module != "poem_service" else [f"poem_service.{a.name}" for a in node.names]
        found |= {name.split(".")[1] for name in modules if name.startswith("poem_service.")}
    return found


def test_the_arrows_run_downwards() -> None:
    order = list(ARROWS)
    assert all(order.index(below) > order.index(room) for room, allowed in ARROWS.items() for below in allowed)


def test_imports_follow_the_arrows() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            wrong += [(str(path.relative_to(PACKAGE)), name) for name in rooms_imported(path) - ARROWS[room] - {room}]
    assert wrong == []


def test_every_room_says_in_one_sentence_what_it_is_and_exports_nothing() -> None:
    for path in [PACKAGE / "__init__.py", *PACKAGE.glob("*/__init__.py")]:
        tree = ast.parse(path.read_text("utf-8"))
        assert len(tree.body) == 1, path
        assert "→" in (ast.get_docstring(tree) or ""), path


def test_tests_stand_in_the_same_rooms() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name[0] != "_"} == rooms
