"""Bases that are brought: from a GGUF, from a hub, from a folder; and the chain on a model of Gemma's shape."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from poem.game import builtin_game
from poem_build.cli import pipeline
from poem_build.cli.main import cli
from poem_build.data.chats import read_chats
from poem_build.data.examples import read_examples
from poem_build.engine.llama import Llama
from poem_build.engine.ollama import Ollama, digests
from poem_build.errors import ModelFileError, RecipeError
from poem_build.export.convert import ConvertReport
from poem_build.export.quantized import QuantizeReport
from poem_build.judge import serving
from poem_build.judge.fidelity import FidelityReport
from poem_build.models import source
from poem_build.models.converter import gguf
from poem_build.models.family import family
from poem_build.models.files import F16, SERVED
from poem_build.models.load import load_tokenizer
from poem_build.models.origin import read_origin
from poem_build.models.source import SourceReport
from poem_build.recipe.schema import Recipe, load_recipe
from poem_build.ship.register import RegisterReport
from poem_build.store.artifact import Artifact
from poem_build.store.digest import Digests
from poem_build.store.stage import Job
from poem_build.train.adapter import TrainReport
from support.chain import workshop_of
from support.hub_stand_in import hub
from support.tiny_gemma import LAYERS, WINDOW, write_tiny_gemma
from support.tiny_gguf import write_tiny_gguf

GAME = builtin_game()
COMMAND = [sys.executable, "-c", "from poem_build.cli.main import main; main()"]
MODEL, REVISION = "somebody/small", "v1"


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gemma")
    (folder / "TERMS_OF_USE.txt").write_text("terms", "utf-8")
    work = tmp_path_factory.mktemp("gemma-work")
    return write_tiny_gemma(folder / "tiny-gemma.gguf", work, load_recipe("gemma-3-270m"))


@pytest.fixture(scope="module")
def gemma(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """The real recipe on the small file, with as little of everything as shows that it goes through."""
    out = tmp_path_factory.mktemp("gemma-out")
    recipe = source.override(load_recipe("gemma-3-270m"), str(tiny_gguf))
    few = {
        "dataset": recipe.dataset.model_copy(update={"train": 8, "valid": 2, "test": 4, "handwritten": 0}),
        "train": recipe.training.model_copy(
            update={"r": 4, "lora_alpha": 8, "max_steps": 3, "evaluate_every": 2, "dtype": "float32"}
        ),
        "gate": recipe.gate.model_copy(
            update={
                "token_parity_texts": 200,
                "smoke_hands": 1,
                "smoke_pass": 0.0,
                "eval_hands": 2,
                "fidelity_poems": 2,
            }
        ),
    }
    return recipe.model_copy(update=few), out


@pytest.fixture(scope="module")
def made(gemma: tuple[Recipe, Path]) -> dict[str, Artifact]:
    recipe, out = gemma
    return {made.path.name: made for made in pipeline.run_all(workshop_of(recipe, out))}


def test_a_gguf_becomes_a_folder_to_train_on(made: dict[str, Artifact], tiny_gguf: Path) -> None:
    base = made["base"]
    report = base.report(SourceReport)
    assert (report.source, report.file) == ("dequantized from Q4_K_M", "tiny-gemma.gguf")
    assert (base.path / "TERMS_OF_USE.txt").read_text("utf-8") == "terms"
    config = json.loads((base.path / "config.json").read_text("utf-8"))
    assert "quantization_config" not in config
    assert (config["model_type"], config["sliding_window"]) == ("gemma3_text", WINDOW)
    model = AutoModelForCausalLM.from_pretrained(base.path)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    stored = load_file(base.path / "model.safetensors")
    asked = gguf().GGUFReader(tiny_gguf)
    tensor = next(t for t in asked.tensors if t.name == f"blk.{LAYERS - 1}.ffn_down.weight")
    plain = gguf().quants.dequantize(tensor.data, tensor.tensor_type)
    kept = stored[f"model.layers.{LAYERS - 1}.mlp.down_proj.weight"].float().numpy()
    assert abs(kept - plain).max() <= 2**-8 * abs(plain).max()  # bfloat16 has 8 bits


def test_a_model_of_gemmas_shape_goes_through_every_stage(
    made: dict[str, Artifact], gemma: tuple[Recipe, Path]
) -> None:
    recipe, out = gemma
    reader = gguf().GGUFReader(made["gguf"].path / SERVED)
    assert reader.get_field("general.architecture").contents() == "gemma3"
    assert reader.get_field("gemma3.attention.sliding_window").contents() == WINDOW
    assert "output.weight" not in {tensor.name for tensor in reader.tensors}
    assert made["gguf"].report(QuantizeReport).not_k_quants > 0
    parity = made["f16"].report(ConvertReport).token_parity
    assert (parity.texts, parity.different) == (200, [])
    assert abs(made["fidelity"].report(FidelityReport).f16_above_merged) < recipe.gate.nll_within
    steps = made["adapter"].report(TrainReport).steps
    assert steps.done == 3 < steps.whole
    assert read_origin(made["gguf"].path).cut_short
    assert "The training was cut short" in (out / "fidelity.md").read_text("utf-8")
    fields = json.loads((made["modelfile"].path / "create.json").read_text("utf-8"))
    assert fields["parameters"]["stop"] == ["<end_of_turn>"]
    ends = json.loads((made["merged"].path / "generation_config.json").read_text("utf-8"))["eos_token_id"]
    tokenizer = load_tokenizer(made["base"].path)
    assert set(ends) == {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")}
    assert "Gemma Terms of Use" in fields["license"]


def test_the_system_text_opens_the_first_turn_after_one_bos(
    made: dict[str, Artifact], gemma: tuple[Recipe, Path]
) -> None:
    recipe, out = gemma
    chat = read_chats(out / "dataset" / "test.jsonl")[0]
    tokenizer = load_tokenizer(made["base"].path)
    prompt = family(recipe.base.family).tokens(tokenizer, chat).prompt
    assert (prompt[0], prompt.count(tokenizer.bos_token_id)) == (tokenizer.bos_token_id, 1)
    text = tokenizer.decode(prompt)
    assert text.startswith(f"<bos><start_of_turn>user\n{GAME.instructions}\n\n【選択されたカードペア】")
    assert text.endswith("<end_of_turn>\n<start_of_turn>model\n")
    llama = Llama(out / "f16" / F16, vocab_only=True)
    assert tuple(llama.tokenize(text.removeprefix("<bos>"))) == prompt


def test_a_character_without_a_token_is_written_from_its_bytes(
    made: dict[str, Artifact], gemma: tuple[Recipe, Path]
) -> None:
    _, out = gemma
    llama = Llama(out / "f16" / F16, vocab_only=True)
    ids = llama.tokenize("𠮷野家の🏢", bos=False)
    assert len(ids) > len("𠮷野家の🏢")
    assert llama.text(ids) == "𠮷野家の🏢"


def test_a_real_ollama_serves_it_and_keeps_the_instructions_beyond_the_window(
    made: dict[str, Artifact], gemma: tuple[Recipe, Path], ollama: str, ollama_log: Path
) -> None:
    recipe, out = gemma
    examples = read_examples(out / "dataset" / "test.jsonl", GAME)[:3]
    try:
        report = pipeline.make(workshop_of(recipe, out, ollama), "register").report(RegisterReport)
        assert (report.token_counts.texts, report.token_counts.different) == (200, [])
        engine = Ollama(ollama, report.model)
        played = serving.play_logged(engine, GAME, examples, ollama_log)
        assert played.evaluated is not None
        tokenizer, talk = load_tokenizer(made["base"].path), family(recipe.base.family)
        prompts = [talk.tokens(tokenizer, example.chats(GAME)[0]).prompt for example in examples]
        told = serving.prompt_figures(played, prompts)
        assert told.tokens - told.new > WINDOW
        assert told.evaluated == pytest.approx(told.new, abs=2)
    finally:
        for name in digests(ollama):  # the server is every test's
            httpx.request("DELETE", f"{ollama}/api/delete", json={"model": name}).raise_for_status()


def test_the_base_is_kept_by_the_files_digest(made: dict[str, Artifact], gemma: tuple[Recipe, Path]) -> None:
    recipe, out = gemma
    assert pipeline.make(workshop_of(recipe, out), "base").reused


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.999])
def test_a_gguf_that_was_cut_is_refused_and_leaves_nothing(tiny_gguf: Path, tmp_path: Path, keep: float) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_gguf.read_bytes()[: int(tiny_gguf.stat().st_size * keep)])
    recipe = source.override(load_recipe("gemma-3-270m"), str(cut))
    with pytest.raises(ModelFileError, match=r"cut\.gguf: does not tell the model's shape: .+; give a whole model"):
        pipeline.make(workshop_of(recipe, tmp_path / "out"), "base")
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {".lock", ".digests.json", "game.json"}
    with pytest.raises(ModelFileError, match=r"cut\.gguf: base\.gguf: no whole GGUF that transformers reads: .+"):
        source.bring(Job(recipe, GAME, tmp_path, tmp_path, {}))


@pytest.mark.parametrize(
    ("spoiled", "told"),
    [
        ({"parts": 2}, "is one of 2 parts of a model; join them with `llama-gguf-split --merge`"),
        ({"told_layers": 2}, r"model\.layers\.1\.\S+: not there \(9 tensors\); fetch it again"),
    ],
)
def test_a_gguf_that_lacks_tensors_is_refused(tmp_path: Path, spoiled: dict[str, Any], told: str) -> None:
    given = write_tiny_gguf(tmp_path / "given.gguf", layers=1, **spoiled)
    recipe = source.override(load_recipe("gemma-3-270m"), str(given))
    with pytest.raises(ModelFileError, match=rf"given\.gguf: base\.gguf: {told}"):
        source.bring(Job(recipe, GAME, tmp_path, tmp_path, {}))


@pytest.mark.parametrize("given", ["nowhere", "nowhere.gguf", "a/b/c", "somebody/file.gguf"])
def test_a_base_that_is_nothing_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"--base {given}: no such folder or GGUF file, and no model's id"):
        source.override(load_recipe("gemma-3-270m"), given)


def test_another_base_comes_by_its_kind(tiny_gguf: Path, tmp_path: Path) -> None:
    recipe = load_recipe("gemma-3-270m")
    assert source.override(recipe, str(tmp_path)).base.path == tmp_path
    assert source.override(recipe, str(tiny_gguf)).base.gguf == tiny_gguf
    other = source.override(recipe, "google/gemma-3-1b-pt@abc").base
    assert (other.hub, other.revision, other.path) == ("google/gemma-3-1b-pt", "abc", None)
    assert other.family == "gemma"


def _base(out: Path, given: str, endpoint: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """`poem-build base`, in a process of its own: the hub's client reads its address when it is imported."""
    command = [*COMMAND, "base", "--recipe", "gemma-3-270m", "--base", given, "--out", str(out)]
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": ""}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_model_of_the_hub_is_fetched_at_its_revision(made: dict[str, Artifact], tmp_path: Path) -> None:
    there, out = tmp_path / "there", tmp_path / "out"
    shutil.copytree(made["base"].path, there, ignore=shutil.ignore_patterns("artifact.json"))
    (there / "pytorch_model.bin").write_bytes(b"the weights once more")
    with hub(MODEL, REVISION, there) as endpoint:
        done = _base(out, f"{MODEL}@{REVISION}", endpoint, tmp_path / "home")
        assert done.returncode == 0, done.stderr
        (there / "pytorch_model.bin").unlink()
        digests_of = Digests(tmp_path / "none")
        assert digests_of.folder(out / "base", ["artifact.json"]) == digests_of.folder(there)
        again = _base(out, f"{MODEL}@{REVISION}", "http://127.0.0.1:9", tmp_path / "home")
        assert "base: kept: " in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (f"{MODEL}@v9", "RevisionNotFound|404"),
        ("somebody/else", "404|Not Found"),
        ("gated/model", "401|restricted|gated"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line(given: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with hub(MODEL, REVISION, tmp_path / "there") as endpoint:
        done = _base(tmp_path / "out", given, endpoint, tmp_path / "home")
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: base {given if '@' in given else f'{given}@main'}: cannot be fetched from ")
    assert done.stderr.count("\n") == 1
    assert "accept the licence there and log in with `hf auth login`" in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock", "game.json"}


@pytest.mark.parametrize("recipe", ["tiny", "gemma-3-270m"])
def test_a_folder_that_is_just_given_is_not_made_and_stays_as_it_is(recipe: str, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "model.safetensors").write_bytes(b"somebody's")
    done = CliRunner().invoke(cli, ["base", "--recipe", recipe, "--base", str(given), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    told = "is a folder that no [pretrain] says how to make; it is used as it is"
    assert done.output == f"Error: recipe {recipe}: base.path: {told}\n"
    assert [path.name for path in given.iterdir()] == ["model.safetensors"]
