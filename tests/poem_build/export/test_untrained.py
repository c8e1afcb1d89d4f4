"""A recipe without `[train]`: from a base's folder, or from a GGUF, to a model that is served with the prompt alone."""

import json
from pathlib import Path

import httpx
import pytest

from poem.game import builtin_game
from poem.model_keys import PROMPT_VERSION
from poem_build.cli import pipeline
from poem_build.engine.llama import Llama
from poem_build.engine.ollama import digests
from poem_build.errors import ModelFileError
from poem_build.export import adopt, take
from poem_build.export.adopt import AdoptReport
from poem_build.export.quantization import quantize_file
from poem_build.models.converter import gguf
from poem_build.models.family import family
from poem_build.models.files import CHAT_TEMPLATE, CREATE, F16, SERVED
from poem_build.models.origin import Origin, read_origin, write_origin
from poem_build.recipe.schema import Base, Recipe, load_recipe
from poem_build.store.artifact import Artifact
from poem_build.store.folder import link
from poem_build.store.stage import Job
from support.chain import changed, workshop_of
from support.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="module")
def untrained(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"train": None, "pretrain": None})


def test_a_base_goes_as_it_is_into_the_file_that_is_served(
    untrained: Recipe, chain: dict[str, Artifact], tmp_path: Path
) -> None:
    workshop = workshop_of(untrained, tmp_path / "out")
    names = ["dataset", "preflight", "merge", "convert", "quantize", "modelfile", "verify"]
    assert pipeline.names(workshop) == names
    made = {one.path.name: one for one in pipeline.run_all(workshop)}
    base, taken = untrained.base.path, made["merged"].path
    assert base is not None
    assert (taken / "model.safetensors").samefile(base / "model.safetensors")
    template = family("chatml").chat_template
    assert (taken / "chat_template.jinja").read_text("utf-8") == template
    reader = gguf().GGUFReader(made["gguf"].path / SERVED)
    assert reader.get_field("tokenizer.chat_template").contents() == template
    assert not read_origin(made["gguf"].path).cut_short


def test_a_folder_that_is_given_is_only_read(untrained: Recipe, tmp_path: Path) -> None:
    """What an earlier build left is linked, not copied, and has an origin of its own."""
    theirs, dataset, taken = (tmp_path / name for name in ("theirs", "dataset", "taken"))
    for folder in (theirs, dataset, taken):
        folder.mkdir()
    names = ("config.json", CHAT_TEMPLATE, "origin.json")
    for name in names:
        (theirs / name).write_text("theirs", "utf-8")
    ours = write_origin(dataset, Origin(game="", game_digest="d", prompt_version="v"))
    inputs = {"base": Artifact("base", theirs, {}), "dataset": Artifact("dataset", dataset, {})}
    take.run(Job(untrained, builtin_game(), taken, tmp_path, inputs))
    assert {name: (theirs / name).read_text("utf-8") for name in names} == dict.fromkeys(names, "theirs")
    assert (taken / "config.json").samefile(theirs / "config.json")
    assert read_origin(taken) == ours


def test_an_origin_is_written_beside_what_was_linked_and_not_through_it(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    first = write_origin(there, Origin(game="", game_digest="d", prompt_version="v"))
    link(there / "origin.json", here / "origin.json")
    write_origin(here, first, base="b")
    assert (read_origin(there), read_origin(here).base) == (first, "b")


@pytest.mark.parametrize("whole", [True, False], ids=["f16", "Q4_K_M"])
def test_a_gguf_is_served_with_its_own_tensors_and_our_prompt(
    untrained: Recipe, chain: dict[str, Artifact], tmp_path: Path, ollama: str, whole: bool
) -> None:
    given = tmp_path / "given" / "their-model.gguf"
    given.parent.mkdir()
    (given.parent / "LICENSE").write_text("their terms", "utf-8")
    if whole:
        given.write_bytes((chain["f16"].path / F16).read_bytes())
    else:
        quantize_file(chain["f16"].path / F16, given, "Q4_K_M")
    recipe = changed(untrained, "base", path=None, gguf=given)
    workshop = workshop_of(recipe, tmp_path / "out", ollama)
    names = ["dataset", "merge", "quantize", "modelfile", "verify", "register"]
    assert pipeline.names(workshop) == names
    try:
        made = {one.path.name: one for one in pipeline.run_all(workshop)}
    finally:
        for name in digests(ollama):  # the server is every test's
            httpx.request("DELETE", f"{ollama}/api/delete", json={"model": name}).raise_for_status()
    assert made["gguf"].report(AdoptReport).kind == ("F16" if whole else "Q4_K_M")
    assert made["gguf"].report(AdoptReport).tensors.keys() >= {"Q4_K", "F32"}
    theirs, ours = gguf().GGUFReader(given), gguf().GGUFReader(made["gguf"].path / SERVED)
    if not whole:
        assert {t.name: t.data.tobytes() for t in theirs.tensors} == {t.name: t.data.tobytes() for t in ours.tensors}
    assert ours.get_field("general.name").contents() == "mini"
    assert ours.get_field(PROMPT_VERSION).contents() == read_origin(made["gguf"].path).prompt_version
    same = [Llama(path, vocab_only=True).tokenize("家の題") for path in (given, made["gguf"].path / SERVED)]
    assert same[0] == same[1]
    assert "their terms" in json.loads((made["modelfile"].path / CREATE).read_text("utf-8"))["license"]


def test_a_gguf_of_another_family_is_refused(tmp_path: Path) -> None:
    given = write_tiny_gguf(tmp_path / "given.gguf")
    write_origin(tmp_path, Origin(game="", game_digest="d", prompt_version="v"))
    base = Base(family="gemma", gguf=given)
    recipe = load_recipe("tiny").model_copy(update={"train": None, "pretrain": None, "base": base})
    terms = {"merged": Artifact("merge", tmp_path, {})}
    with pytest.raises(ModelFileError, match=r"given\.gguf: base\.family: gemma ends .*<end_of_turn>, .* one: chatml"):
        adopt.run(Job(recipe, builtin_game(), tmp_path, tmp_path, terms))


def test_a_gguf_of_another_mixture_is_refused(untrained: Recipe, chain: dict[str, Artifact], tmp_path: Path) -> None:
    given = tmp_path / "given.gguf"
    quantize_file(chain["f16"].path / F16, given, "Q8_0")
    workshop = workshop_of(changed(untrained, "base", path=None, gguf=given), tmp_path / "out")
    for name in ("dataset", "merge"):
        pipeline.make(workshop, name)
    with pytest.raises(ModelFileError, match=r"given\.gguf: is Q8_0; give one in Q4_K_M, which is taken as it is, or"):
        pipeline.make(workshop, "quantize")
