"""What the documents say is what the program says."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_readme_shows_the_real_help_and_settings() -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))["generated"]
    text = (ROOT / "README.md").read_text("utf-8")
    assert "Commands:\n" in text
    assert "| `POEM_PORT` |" in text
    assert generate(text) == text, "run `make docs`"


def test_every_room_and_every_module_beside_the_rooms_has_its_place_in_the_readmes_tree() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    folders = (ROOT / "game" / "poem", ROOT / "build" / "poem_build", ROOT / "service" / "poem_service")
    rooms = {f"{path.parent.name}/" for folder in folders for path in folder.glob("*/__init__.py")}
    modules = {path.name for folder in folders for path in folder.glob("*.py")}
    assert {name for name in rooms | modules if name not in text} == {"__init__.py"}


@pytest.mark.parametrize(
    ("readme", "least"),
    [
        ("README.md", {"setup", "demo", "test", "test-all", "bench", "check"}),
        ("README.ja.md", {"demo", "test", "bundle", "image", "rollback", "real"}),
    ],
)
def test_every_make_target_of_a_readme_is_there(readme: str, least: set[str]) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / readme).read_text("utf-8"), re.MULTILINE))
    assert least <= named
    assert [target for target in named if f"\n{target}:" not in makefile] == []


def test_every_link_of_a_document_leads_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    links = [(page, to) for page in documents for to in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))]
    assert len(links) > 5
    assert [(page.name, to) for page, to in links if not (page.parent / to).exists()] == []
