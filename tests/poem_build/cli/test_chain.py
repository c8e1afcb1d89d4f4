"""The chain itself, on a model of one layer: what each stage leaves, and what it refuses."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen2Config

from poem.prompt import prompt_version, system_text
from poem_build.cli.main import cli
from poem_build.data.dataset import read_examples
from poem_build.engine.llama import Llama, play
from poem_build.errors import GateError, ModelFileError, RecipeError
from poem_build.export import convert, modelfile, quantize
from poem_build.export.parity import random_texts
from poem_build.judge import evaluate, verify
from poem_build.models.converter import gguf
from poem_build.models.load import load_adapted, load_model, load_tokenizer
from poem_build.recipe.schema import Recipe, load_recipe
from poem_build.report import samples
from poem_build.store.artifact import Artifact
from poem_build.train import lora as train

GOLDEN = Path(__file__).parent / "golden"


def test_every_stage_is_made_and_then_kept(chain: dict[str, Artifact], out: Path, recipe_file: Path) -> None:
    done = CliRunner().invoke(cli, ["train", "--recipe", str(recipe_file), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["stage"], told["reused"], told["path"]) == ("adapter", True, str(out / "adapter"))
    assert all((made.path / "artifact.json").is_file() for made in chain.values())
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] in ([], [".lock"])


def test_training_lowers_the_loss_on_answers(chain: dict[str, Artifact]) -> None:
    loss = chain["train"].figures["valid_loss"]
    assert loss["after"] < loss["before"]


def test_the_merge_is_the_formula(chain: dict[str, Artifact], out: Path, recipe: Recipe) -> None:
    base = load_file(out / "base-2" / "model.safetensors")
    merged = load_file(out / "merged" / "model.safetensors")
    adapter = load_file(out / "adapter" / "adapter_model.safetensors")
    name = "model.layers.0.mlp.down_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    scale = recipe.train.lora_alpha / recipe.train.r
    expected = (base[f"{name}.weight"].float() + (b.float() @ a.float()) * scale).to(torch.bfloat16)
    assert torch.equal(merged[f"{name}.weight"], expected)
    assert not torch.equal(merged[f"{name}.weight"], base[f"{name}.weight"])
    changed = (merged["model.embed_tokens.weight"] != base["model.embed_tokens.weight"]).any(dim=1)
    tokenizer = load_tokenizer(out / "base-2")
    new = {i for text in recipe.train.new_tokens for i in tokenizer.encode(text)}
    assert set(changed.nonzero().flatten().tolist()) == new


def test_the_gguf_is_quantized_and_knows_its_prompt(chain: dict[str, Artifact]) -> None:
    path = chain["quantize"].path / quantize.FILE
    types = quantize.tensor_types(path)
    assert types["Q4_K"] + types["Q6_K"] == sum(types.values()) - types["F32"]
    reader = gguf().GGUFReader(path)
    assert reader.get_field(convert.PROMPT_VERSION_KEY).contents() == prompt_version()
    assert reader.get_field("general.name").contents() == "mini"
    assert reader.get_field("general.sampling.temp").contents() == pytest.approx(0.7)
    assert "tools" not in reader.get_field("tokenizer.chat_template").contents()


def test_another_pre_tokenizer_is_caught_by_token_parity(
    chain: dict[str, Artifact], out: Path, recipe: Recipe, no_leftovers: None
) -> None:
    wrong = recipe.model_copy(update={"base": recipe.base.model_copy(update={"pre_tokenizer": "gpt-2"})})
    with pytest.raises(GateError, match=r"base\.pre_tokenizer: \d+ of 50 texts get other token ids"):
        convert.run(wrong, out)


def test_parity_texts_hold_what_bites() -> None:
    joined = "".join(random_texts(200, ["<|im_start|>"]))
    assert all(piece in joined for piece in ("<|im_start|>", "\n", "　", "Ａ", "🏢", "が"))


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_a_gguf_cut_short_is_refused_in_one_line(chain: dict[str, Artifact], tmp_path: Path, keep: float) -> None:
    whole = (chain["convert"].path / convert.FILE).read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ModelFileError, match=r"cut\.gguf"):
        quantize.tensor_types(cut)
    with pytest.raises(ModelFileError, match=r"cut\.gguf"):
        Llama(cut)


def test_an_artifact_that_was_cut_is_not_taken(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe_file: Path
) -> None:
    shutil.copytree(out, tmp_path / "out")
    path = tmp_path / "out" / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    done = CliRunner().invoke(cli, ["merge", "--recipe", str(recipe_file), "--out", str(tmp_path / "out")])
    assert (done.exit_code, done.output) == (
        1,
        f"Error: {tmp_path / 'out' / 'adapter'}: not there or unfinished; `poem-build run` makes it\n",
    )


def test_an_adapter_of_another_base_and_a_cut_base_are_refused(
    chain: dict[str, Artifact], out: Path, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_config(Qwen2Config(hidden_size=64, intermediate_size=64, num_hidden_layers=1))
    with pytest.raises(ModelFileError, match=r"adapter: cannot be loaded: "):
        load_adapted(model, out / "adapter")
    shutil.copytree(out / "base-2", tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelFileError, match=r"base: cannot be loaded: "):
        load_model(tmp_path / "base", "float32")
    with pytest.raises(ModelFileError, match=r"nowhere: cannot be loaded: "):
        load_tokenizer(tmp_path / "nowhere")


def test_an_engine_that_dies_is_an_error_and_not_the_end(chain: dict[str, Artifact], recipe: Recipe) -> None:
    # A rule that is not there ends the process; so does a literal that the vocabulary cannot spell.
    with pytest.raises(ModelFileError, match=r"model-Q4_K_M\.gguf: llama\.cpp died while generating"):
        play(chain["quantize"].path / quantize.FILE, ["家"], ["root ::= nowhere"], recipe.serve, 0)


def test_the_prompts_version_is_that_of_the_training(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe: Recipe
) -> None:
    convert.convert_folder(out / "merged", tmp_path / "old.gguf", recipe, "another")
    assert gguf().GGUFReader(tmp_path / "old.gguf").get_field(convert.PROMPT_VERSION_KEY).contents() == "another"


def test_a_context_too_short_for_the_examples_is_refused(chain: dict[str, Artifact], out: Path, recipe: Recipe) -> None:
    short = recipe.model_copy(update={"serve": recipe.serve.model_copy(update={"num_ctx": 300})})
    with pytest.raises(RecipeError, match=r"recipe mini: serve\.num_ctx: examples have up to \d+ tokens, prompts \d+"):
        modelfile.run(short, out)


def test_samples_show_every_poem(chain: dict[str, Artifact], out: Path, recipe: Recipe, tmp_path: Path) -> None:
    assert samples.write(recipe, out, tmp_path / "docs" / "samples.md") == {"composed": 50, "model": 6}
    text = (tmp_path / "docs" / "samples.md").read_text("utf-8")
    assert text.count("\n### ") == 56
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["samples.md"]


def test_a_base_that_is_not_there_is_refused(out: Path, tmp_path: Path, recipe: Recipe) -> None:
    nowhere = recipe.model_copy(update={"base": recipe.base.model_copy(update={"path": tmp_path / "nowhere"})})
    with pytest.raises(ModelFileError, match=r"nowhere: base\.path: no model there; `poem-build base` makes it"):
        train.base_digest(nowhere)


def test_the_modelfile_is_the_golden_one_and_says_what_the_request_says(chain: dict[str, Artifact], out: Path) -> None:
    text = (out / "Modelfile").read_text("utf-8")
    assert text == (GOLDEN / "Modelfile").read_text("utf-8")
    fields = json.loads((chain["modelfile"].path / modelfile.FIELDS_FILE).read_text("utf-8"))
    assert fields["system"] == system_text()
    assert f'SYSTEM """{fields["system"]}"""' in text
    assert f'TEMPLATE """{fields["template"]}"""' in text
    for name, value in fields["parameters"].items():
        for one in value if isinstance(value, list) else [value]:
            assert f"PARAMETER {name} {one}\n" in text
    assert (out / "gguf" / quantize.FILE).is_file()
    assert "FROM ./gguf/model-Q4_K_M.gguf\n" in text


def test_answers_have_the_shape_even_of_a_model_that_learnt_nothing(
    chain: dict[str, Artifact], out: Path, recipe: Recipe
) -> None:
    examples = read_examples(out / "dataset" / "test.jsonl")[:3]
    texts = verify.answers(recipe, chain["quantize"].path / quantize.FILE, examples, constrained=True)
    told = verify.judge(texts, examples)
    assert told["malformed"] == 0
    assert told["broken"].keys() <= {"giveaway", "repeated", "polite", "conjecture", "address", "superlative", "copied"}
    again = verify.answers(recipe, chain["quantize"].path / quantize.FILE, examples, constrained=True)
    assert texts == again


def test_a_model_below_its_gate_is_refused_with_what_it_did(
    chain: dict[str, Artifact], out: Path, recipe: Recipe, no_leftovers: None
) -> None:
    strict = recipe.model_copy(update={"gate": recipe.gate.model_copy(update={"eval_pass": 1.0, "eval_hands": 6})})
    with pytest.raises(GateError, match=r"gate\.eval_pass|does not look at the cards"):
        evaluate.run(strict, out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"constrained": {"passed": 89, "hands": 100}}, r"gate\.eval_pass: 89\.0% keep all rules, 90% must"),
        ({"base_unconstrained": {"passed": 6, "hands": 50}}, r"gate\.base_pass_at_most: the base alone passes 12\.0%"),
        ({"other_hands_cards": {"model": {"mean": 1.0, "interval": 1.5}}}, "does not look at the cards"),
    ],
)
def test_each_gate_refuses_on_its_own(change: dict[str, object], message: str | None) -> None:
    told = {
        "constrained": {"passed": 90, "hands": 100},
        "base_unconstrained": {"passed": 5, "hands": 50},
        "other_hands_cards": {"model": {"mean": 2.0, "interval": 1.5}},
    } | change
    with pytest.raises(GateError, match=message) if message else nullcontext():
        evaluate._refuse(load_recipe("tiny"), told)


def test_commands_end_with_one_line_of_error(tmp_path: Path, recipe_file: Path) -> None:
    done = CliRunner().invoke(cli, ["merge", "--recipe", str(recipe_file), "--out", str(tmp_path)])
    assert (done.exit_code, done.output) == (
        1,
        f"Error: {tmp_path / 'adapter'}: not there or unfinished; `poem-build run` makes it\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_recipes_are_listed_for_machines() -> None:
    done = CliRunner().invoke(cli, ["recipes", "--json"])
    rows = {row["name"]: row for row in json.loads(done.output)["recipes"]}
    tiny = load_recipe("tiny")
    assert rows["tiny"] == {
        "name": "tiny",
        "base": "tiny-base",
        "params": tiny.params,
        "licence": "MIT",
        "status": "supported",
    }


def test_the_deck_command_counts(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["deck"])
    assert (done.exit_code, done.output) == (0, "89 cards, 9 categories, 267 wordings, 110 catchphrases\n")
    (tmp_path / "bad.json").write_text("[]", "utf-8")
    done = CliRunner().invoke(cli, ["deck", "--cards", str(tmp_path / "bad.json")])
    assert (done.exit_code, done.output) == (1, "Error: bad.json: must be a JSON list of at least 5 cards\n")
