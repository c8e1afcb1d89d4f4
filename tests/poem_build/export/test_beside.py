"""An adapter as a GGUF beside a base that games share: as strong as it was trained, and refused where it cannot be."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import transformers

from poem.game import Game, builtin_game
from poem.model_keys import ADAPTER_FILE
from poem_build.cli import pipeline
from poem_build.engine.ollama import digests
from poem_build.errors import ModelFileError, RecipeError
from poem_build.export import beside
from poem_build.export.gguf import convert_folder
from poem_build.export.merge import merge_weights
from poem_build.export.quantized import QuantizeReport
from poem_build.judge.fidelity import LAST, MERGED, FidelityReport
from poem_build.judge.verify import VerifyReport
from poem_build.models.architectures import TRANSPOSED
from poem_build.models.converter import gguf
from poem_build.models.family import family
from poem_build.models.files import F16, SERVED
from poem_build.models.load import skeleton
from poem_build.models.origin import Origin
from poem_build.recipe.schema import Recipe, load_recipe
from poem_build.store.artifact import Artifact
from poem_build.train.targets import target_modules
from support.chain import changed, off_merged, workshop_of
from support.small_models import EVERY_FAMILY, write_small_adapter, write_small_model

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's advice on what we ask for on purpose
ORIGIN = Origin(game="another", game_digest="d", prompt_version="v")
MATRICES: dict[str, Any] = {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]}


def _as_strong_as_merged(recipe: Recipe, base: Path, adapter: Path, room: Path) -> Path:
    """The folder of the base's GGUF and the adapter's, which answers as the model does that both are merged into."""
    merged, beside_it = (room / name for name in ("merged", "beside"))
    for folder in (merged, beside_it):
        folder.mkdir()
    merge_weights(base, adapter, merged)
    for pattern in (*family(recipe.base.family).tokenizer_files, "generation_config.json"):
        for path in base.glob(pattern):
            shutil.copy(path, merged)
    convert_folder(merged, merged / F16, recipe, ORIGIN)
    convert_folder(base, beside_it / F16, recipe, None)
    beside.convert_adapter(base, beside.products_of(base, adapter), beside_it / ADAPTER_FILE, recipe, ORIGIN)
    off, moved = off_merged(beside_it / F16, merged / F16)
    assert moved > 1e-3
    assert off < moved / 100
    return beside_it


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"alpha_pattern": {"q_proj": 40, "down_proj": 2}, "rank_pattern": {"v_proj": 8}},
    ],
    ids=["plain", "rslora", "patterns"],
)
def test_beside_its_base_it_is_as_strong_as_merged_into_it(
    recipe: Recipe, out: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    assert recipe.base.path is not None
    adapter = write_small_adapter(recipe.base.path, tmp_path / "adapter", **MATRICES, **options)
    beside_it = _as_strong_as_merged(recipe, recipe.base.path, adapter, tmp_path)
    told = gguf().GGUFReader(beside_it / ADAPTER_FILE)
    assert told.get_field("mansion_poem.game").contents() == "another"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # T5's vocabulary is left open
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "gemma-3-1b" else pytest.mark.long) for name in EVERY_FAMILY]
)
def test_beside_a_base_of_every_family_it_is_as_strong_too(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    base = write_small_model(tmp_path / "base", recipe)
    model = skeleton(base)
    adapter = write_small_adapter(
        base, tmp_path / "adapter", target_modules=target_modules(model, family(recipe.base.family))
    )
    if type(model).__name__ in TRANSPOSED:
        with pytest.raises(ModelFileError, match=r"llama\.cpp dies of an adapter for it"):
            beside.products_of(base, adapter)
    else:
        _as_strong_as_merged(recipe, base, adapter, tmp_path)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"use_dora": True}, "a GGUF cannot hold it: use_dora is True"),
        ({"modules_to_save": ["lm_head"]}, "a GGUF cannot hold it: .* tied to another tensor"),
        ({"modules_to_save": ["norm"]}, r"a GGUF cannot hold a tensor trained as a whole \(.*norm\.weight\)"),
        ({"trainable_token_indices": [3]}, r"a GGUF cannot hold trained tokens \(model\.embed_tokens\.weight\)"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_by_name(
    recipe: Recipe, out: Path, tmp_path: Path, options: dict[str, Any], why: str
) -> None:
    assert recipe.base.path is not None
    adapter = write_small_adapter(recipe.base.path, tmp_path / "adapter", **MATRICES, **options)
    with pytest.raises(ModelFileError, match=rf"adapter: serve\.unmerged: {why}.*; leave serve\.unmerged out"):
        beside.products_of(recipe.base.path, adapter)


def test_an_architecture_that_lies_the_other_way_round_is_refused(tmp_path: Path) -> None:
    config = transformers.GPT2Config(n_embd=64, n_layer=1, n_head=2, vocab_size=300)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ModelFileError, match=r"GPT2LMHeadModel: llama\.cpp dies of an adapter for it"):
        beside.products_of(tmp_path, tmp_path)


def test_a_recipe_that_leaves_no_such_adapter_is_refused_before_any_work(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=r"recipe tiny: --unmerged: .* trained tokens of train\.new_tokens"):
        load_recipe("tiny").as_unmerged()
    with pytest.raises(RecipeError, match=r"recipe llama-3\.1-70b: --unmerged: nothing is trained"):
        load_recipe("llama-3.1-70b").as_unmerged()
    full = changed(recipe, "train", method="full", new_tokens=())
    with pytest.raises(RecipeError, match=r"train\.method full changes all weights"):
        full.as_unmerged()
    coarse = changed(changed(recipe, "train", new_tokens=()), "quantize", types=("IQ2_M",))
    with pytest.raises(RecipeError, match=r"quantize: IQ2_M needs an importance matrix"):
        coarse.as_unmerged()


@pytest.fixture(scope="module")
def unmerged(recipe: Recipe) -> Recipe:
    plain = changed(recipe, "train", new_tokens=(), lora_alpha=32, max_steps=2)  # cut short: gates only report
    return changed(plain, "quantize", types=("F16",), compared=()).as_unmerged()


@pytest.fixture(scope="module")
def another_game() -> Game:
    return replace(builtin_game(), name="another")


@pytest.fixture(scope="module")
def built(unmerged: Recipe, out: Path, home: Path) -> dict[str, Artifact]:
    """The chain of the built-in game."""
    target = home / "unmerged" / "mini"
    target.mkdir(parents=True)
    shutil.copytree(out / "dataset", target / "dataset")
    return {made.path.name: made for made in pipeline.run_all(workshop_of(unmerged, target))}


def test_it_is_served_and_judged_as_a_merged_model_is(built: dict[str, Artifact], unmerged: Recipe) -> None:
    folder = built["gguf"].path
    assert {path.name for path in folder.glob("*.gguf")} == {SERVED, "model-F16.gguf", ADAPTER_FILE}
    told = (folder.parent / "Modelfile").read_text("utf-8")
    assert f"FROM ./gguf/{SERVED}\nADAPTER ./gguf/{ADAPTER_FILE}\n" in told
    report = built["fidelity"].report(FidelityReport)
    assert report.adapter_moves > 0
    near = report.quantized
    assert near["F16"].kl_divergence < 1e-4
    assert near[MERGED].kl_divergence < near[LAST].kl_divergence * 3 + 1e-3
    assert near[LAST].kl_divergence < near[MERGED].kl_divergence * 3 + 1e-3
    assert f"| {MERGED} |" in (folder.parent / "fidelity.md").read_text("utf-8")
    assert built["gguf"].report(QuantizeReport).bytes["adapter"] == (folder / ADAPTER_FILE).stat().st_size
    assert built["verify"].report(VerifyReport).score.hands == 2
    base = gguf().GGUFReader(folder / SERVED)
    assert [name for name in base.fields if name.startswith("mansion_poem.")] == []


def test_two_games_have_two_adapters_on_one_base(
    built: dict[str, Artifact], unmerged: Recipe, another_game: Game, ollama: str, ollama_log: Path
) -> None:
    first = built["gguf"].path.parent
    other = changed(unmerged, "train", seed=9)
    workshops = [
        workshop_of(unmerged, first, ollama),
        workshop_of(other, first.parent / "another", ollama, game=another_game),
    ]
    for name in ("dataset", "preflight", "train", "merge", "quantize", "modelfile"):
        pipeline.make(workshops[1], name)
    one, two = (workshop.load("gguf") for workshop in workshops)
    assert (one.path / SERVED).samefile(two.path / SERVED)
    assert one.files[ADAPTER_FILE] != two.files[ADAPTER_FILE]
    try:
        for workshop in workshops:
            pipeline.make(workshop, "register")
        names = ("mansion-poem:mini", "mansion-poem:mini-another")
        blobs = [_layers(ollama_log.parent / "models", name) for name in names]
        assert blobs[0]["model"] == blobs[1]["model"]
        assert blobs[0]["adapter"] == f"sha256:{one.files[ADAPTER_FILE]}"
        assert blobs[1]["adapter"] == f"sha256:{two.files[ADAPTER_FILE]}"
        shown = [httpx.post(f"{ollama}/api/show", json={"model": name}).json() for name in names]
        assert ['"mansion_poem.game":"another"' in one["template"] for one in shown] == [False, True]
        said = [_said(ollama, name) for name in (*names, names[0])]
        assert said[0] == said[2]
    finally:
        for name in digests(ollama):  # the server is every test's
            httpx.request("DELETE", f"{ollama}/api/delete", json={"model": name}).raise_for_status()


def _layers(models: Path, name: str) -> dict[str, str]:
    model, tag = name.split(":")
    manifest = models / "manifests" / "registry.ollama.ai" / "library" / model / tag
    layers = json.loads(manifest.read_text("utf-8"))["layers"]
    return {layer["mediaType"].rpartition(".")[2]: layer["digest"] for layer in layers}


def _said(host: str, model: str) -> str:
    options = {"temperature": 0, "seed": 1, "num_predict": 24}
    body = {"model": model, "prompt": "雨あがりの庭に、", "raw": True, "stream": False, "options": options}
    return str(httpx.post(f"{host}/api/generate", json=body, timeout=300).raise_for_status().json()["response"])
