"""What the documents say is what the program says."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_documents_show_the_real_help_recipes_families_and_settings() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    texts = [page.read_text("utf-8") for page in written["DOCUMENTS"]]
    for generated in ("Commands:\n", "| `POEM_PORT` |", "| `qwen2.5-7b` |", "| `chatml` |"):
        assert any(generated in text for text in texts)
    for text in texts:
        assert written["generated"](text) == text, "run `make docs`"


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
