"""What the documents say is what the program says."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_readme_shows_the_real_help_and_settings() -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))["generated"]
    text = (ROOT / "README.md").read_text("utf-8")
    assert generate(text) == text, "run `make docs`"


def test_every_module_has_its_place_in_the_readmes_tree() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    modules = [p.name for p in (*(ROOT / "game" / "poem").glob("*.py"), *(ROOT / "build" / "poem_build").glob("*.py"))]
    unnamed = [name for name in modules if name not in text and name not in ("__init__.py", "errors.py", "progress.py")]
    assert unnamed == []


def test_every_make_target_is_there() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    assert all(f"\n{target}:" in text for target in ("setup", "demo", "test", "test-all", "bench", "check", "format"))
