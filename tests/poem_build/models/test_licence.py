"""Whose terms a model is under: those of the base that it was made of, wherever that came from."""

import json
import shutil
from pathlib import Path

import pytest

from poem.game import builtin_game
from poem_build.cli import pipeline
from poem_build.export.modelfile import fields, render_modelfile
from poem_build.models import licence, source
from poem_build.models.converter import gguf
from poem_build.models.files import CREATE
from poem_build.plan.licence import verdicts
from poem_build.recipe.schema import Recipe, load_recipe
from poem_build.store.artifact import Artifact
from support.chain import workshop_of

CARD = "---\nlanguage: ja\nlicense: {}\n{}---\n# A model\nlicense: none of this\n"
TERMS = 'LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n\n\f1.\tYou "may" """quote""" it, and call it "Llama"'


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A folder with somebody's base: its card, and its terms beside it."""
    folder = tmp_path / "some-llama"
    folder.mkdir()
    (folder / "README.md").write_text(CARD.format("llama3.1", ""), "utf-8")
    (folder / "LICENSE").write_text(TERMS, "utf-8")
    (folder / "LICENSE.txt").write_text(TERMS + "\n", "utf-8")
    (folder / "USE_POLICY.md").write_text("what you must not do", "utf-8")
    return folder


def test_the_licence_follows_the_base(llama: Path) -> None:
    tiny = load_recipe("tiny")
    assert tiny.licence == "MIT"
    other = source.override(tiny, str(llama))
    assert other.licence == "Llama 3.1 Community License"
    assert other.notice.startswith("\nBuilt with Llama. ")
    (llama / "README.md").unlink()
    assert source.override(tiny, str(llama)).licence == "that of its base, some-llama"
    assert source.override(tiny, "somebody/llama@v1").licence == "that of its base, somebody/llama@v1"
    assert source.override(tiny, str(tiny.base.path)).licence == "MIT"


@pytest.mark.parametrize(
    ("told", "name"),
    [
        *((CARD.format(word, ""), name) for word, name in licence.HUB.items()),
        (CARD.format("other", "license_name: qwen\n"), "Qwen License"),
        (CARD.format("other", "license_name: qwen-research\n"), "Qwen Research License"),
    ],
)
def test_what_a_card_calls_a_licence_is_known_by_its_name(llama: Path, told: str, name: str) -> None:
    (llama / "README.md").write_text(told, "utf-8")
    recipe = source.override(load_recipe("tiny"), str(llama))
    assert recipe.licence == name
    base, *_ = verdicts(recipe)
    assert "add it to" not in base.name


def test_a_card_may_name_a_licence_that_the_hub_has_no_word_for(llama: Path) -> None:
    (llama / "README.md").write_text(CARD.format("other", 'license_name: "tongyi-qianwen"\n'), "utf-8")
    assert source.override(load_recipe("tiny"), str(llama)).licence == "tongyi-qianwen"


def test_a_gguf_names_its_own(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf().GGUFWriter(str(path), "llama")
    writer.add_license("apache-2.0")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert source.override(load_recipe("tiny"), str(path)).licence == "Apache-2.0"
    # All of Gemma's models, whoever changed them and whatever they call it, stay under Google's terms.
    real = load_recipe("gemma-3-270m")
    assert (source.override(real, str(path)).licence, source.override(real, str(path)).notice) == (
        real.licence,
        real.notice,
    )


def test_the_texts_travel_into_merged_folder_and_model(
    chain: dict[str, Artifact], out: Path, recipe: Recipe, llama: Path, tmp_path: Path
) -> None:
    shutil.copytree(out, tmp_path / "out")
    assert recipe.base.path is not None
    for path in recipe.base.path.iterdir():
        if path.name != "artifact.json":
            shutil.copy(path, llama)
    workshop = workshop_of(source.override(recipe, str(llama)), tmp_path / "out")
    for name in ("train", "merge", "convert", "quantize", "modelfile"):
        made = pipeline.make(workshop, name)
    assert (tmp_path / "out" / "merged" / "LICENSE").read_text("utf-8") == TERMS
    assert (tmp_path / "out" / "merged" / "USE_POLICY.md").read_text("utf-8") == "what you must not do"
    told = json.loads((made.path / CREATE).read_text("utf-8"))["license"]
    assert told.splitlines()[0] == "Llama 3.1 Community License"
    assert told.count("Built with Llama.") == 1
    assert told.count("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT") == 1
    assert "what you must not do" in told
    assert f'LICENSE """{told}"""' in (tmp_path / "out" / "Modelfile").read_text("utf-8")


def test_terms_are_quoted_whole_and_in_a_way_that_a_modelfile_can_carry(llama: Path, recipe: Recipe) -> None:
    wanted = fields(recipe, builtin_game(), licence.texts_in(llama))
    render_modelfile(recipe, wanted)
    name, *texts = wanted.license.split("\n\n", 1)
    assert name == "MIT"
    words = TERMS.replace('"', "").replace("'", "").split()
    assert texts[0].replace('"', "").replace("'", "").split()[: len(words)] == words
