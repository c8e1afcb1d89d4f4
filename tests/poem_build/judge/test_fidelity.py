"""The table of what each step lost: the right figures, the right red lines."""

import json
import math
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from poem_build.cli.main import cli
from poem_build.data.dataset import read_examples
from poem_build.engine.llama import Llama
from poem_build.errors import GateError
from poem_build.export import convert
from poem_build.judge import fidelity, gates
from poem_build.models.load import load_model, load_tokenizer
from poem_build.recipe.schema import Recipe
from poem_build.report import fidelity_table
from poem_build.store import artifact
from poem_build.store.artifact import Artifact
from poem_build.train.batches import Tokens, tokenize

Chain = dict[str, Artifact]


@pytest.fixture(scope="module")
def poems(chain: Chain, out: Path, recipe: Recipe) -> list[Tokens]:
    tokenizer = load_tokenizer(out / "merged")
    examples = read_examples(out / "dataset" / "test.jsonl")[:2]
    return [tokenize(tokenizer, recipe.base.family, example) for example in examples]


def _plain(folder: Path, poem: Tokens) -> float:
    """The log-probability of the answer, all logits at once."""
    ids = torch.tensor([poem.prompt + poem.answer])
    with torch.inference_mode():
        log_p = load_model(folder, "float32").eval()(input_ids=ids).logits[0].log_softmax(-1)
    right = range(len(poem.prompt), ids.shape[1])
    return float(sum(log_p[n - 1, ids[0, n]] for n in right))


def test_every_step_is_in_the_figures_and_the_table(chain: Chain, out: Path, recipe: Recipe) -> None:
    told = chain["fidelity"].figures
    assert (told["poems"], list(told["steps"])) == (6, ["base", "adapter", "merged", "f16", "Q4_K_M"])
    assert abs(told["f16_above_merged"]) < 1e-3
    assert told["tuned_above_base"]["mean"] > told["tuned_above_base"]["interval"]
    assert list(told["quantized"]) == ["f16", "Q8_0", "Q5_K_M", "Q4_K_M"]
    assert told["quantized"]["f16"]["kl_divergence"] == 0
    assert told["quantized"]["f16"]["same_top_token"] == 1
    nearness = [told["quantized"][kind]["kl_divergence"] for kind in ("Q8_0", "Q5_K_M", "Q4_K_M")]
    assert 0 < nearness[0] < nearness[1] < nearness[2] < 0.5
    text = (out / "fidelity.md").read_text("utf-8")
    assert "| token ids: transformers, llama.cpp | 0 of 50 texts differ | 0 | ok |" in text
    assert "| tensors that no K-quant could take | 0 of " in text
    assert text.count("\n| Q4_K_M |") == 2
    assert "red" not in text


def test_the_log_probability_is_that_of_the_plain_way(
    chain: Chain, out: Path, recipe: Recipe, poems: list[Tokens]
) -> None:
    seen = fidelity.by_transformers(recipe.base.path, out / "adapter", out / "merged", poems)
    for name, folder in (("base", recipe.base.path), ("merged", out / "merged")):
        assert seen[name].poems == pytest.approx([_plain(folder, poem) for poem in poems], abs=1e-3)
    assert seen["adapter"].poems == pytest.approx(seen["merged"].poems, rel=0.01)
    assert seen["adapter"].poems != seen["base"].poems
    both = fidelity.by_llama({"f16": out / "f16" / convert.FILE}, poems)["f16"]
    assert both.poems == pytest.approx(seen["merged"].poems, rel=1e-3)


def test_logits_come_the_same_in_any_portion_and_after_any_poem(chain: Chain, out: Path, poems: list[Tokens]) -> None:
    path = out / "f16" / convert.FILE
    fresh, used = Llama(path, 2048), Llama(path, 2048)
    for _ in used.answer_logits(poems[1].prompt, poems[1].answer):
        pass
    whole = np.concatenate(list(fresh.answer_logits(poems[0].prompt, poems[0].answer)))
    portions = list(used.answer_logits(poems[0].prompt, poems[0].answer, rows=7))
    assert whole.shape[0] == len(poems[0].answer)
    assert {len(rows) for rows in portions[:-1]} == {7}
    np.testing.assert_allclose(np.concatenate(portions), whole, atol=0.02)


def test_the_figures_are_their_formulas() -> None:
    seen = {step: fidelity.Seen([-10.0 - n, -20.0 - n]) for n, step in enumerate(reversed(fidelity.STEPS))}
    seen["Q8_0"] = fidelity.Seen([-10.0, -20.0], kl_divergence=1.5, same_top=7)
    told = fidelity.figures(seen, 10, {"Q8_0": 123})
    assert told["steps"]["Q4_K_M"] == {
        "log_probability": {"mean": -15.0, "interval": 9.8},  # deviation 7.071, 1.96 · 7.071 / √2
        "nll": 3.0,
        "change": {"mean": 1.0, "interval": 0.0},
    }
    assert told["tuned_above_base"] == {"mean": 4.0, "interval": 0.0}
    assert told["quantized"]["Q8_0"] == {
        "bytes": 123,
        "perplexity": round(math.exp(3.0), 4),
        "kl_divergence": 0.15,
        "same_top_token": 0.7,
    }


@pytest.mark.parametrize(
    ("change", "cut_short", "message"),
    [
        ({}, False, None),
        ({"f16_above_merged": -0.002}, True, r"fidelity\.md: gate\.nll_within: the f16 GGUF is -0\.002000 nats"),
        (
            {"tuned_above_base": {"mean": 3.0, "interval": 3.5}},
            False,
            r"fidelity\.md: tuned above base: .* \+3\.00 nats",
        ),
        ({"tuned_above_base": {"mean": 3.0, "interval": 3.5}}, True, None),
    ],
)
def test_each_red_line_refuses_unless_only_a_whole_training_reaches_it(
    recipe: Recipe, change: dict[str, object], cut_short: bool, message: str | None
) -> None:
    told = {"f16_above_merged": 1e-5, "tuned_above_base": {"mean": 3.0, "interval": 1.0}} | change
    with pytest.raises(GateError, match=message) if message else nullcontext():
        fidelity.refuse(told, recipe.gate, Path("out/fidelity.md"), cut_short=cut_short)


def test_another_models_gguf_is_refused_and_the_table_shows_it(
    chain: Chain, out: Path, tmp_path: Path, recipe: Recipe, recipe_file: Path
) -> None:
    wrong = tmp_path / "out"
    shutil.copytree(out, wrong)
    before = chain["convert"]

    def planted(folder: Path) -> dict[str, object]:
        convert.convert_folder(recipe.base.path, folder / convert.FILE, recipe, "planted")
        return dict(before.figures)

    artifact.make(wrong, "f16", planted, settings={"planted": True}, inputs={})
    done = CliRunner().invoke(cli, ["fidelity", "--recipe", str(recipe_file), "--out", str(wrong)])
    assert done.exit_code == 1
    assert f"Error: {wrong}/fidelity.md: gate.nll_within: the f16 GGUF is +" in done.output
    assert "| **red** |" in (wrong / "fidelity.md").read_text("utf-8")
    kept = json.loads((wrong / "fidelity" / "artifact.json").read_text("utf-8"))
    assert kept["figures"]["f16_above_merged"] > 0.1


def test_a_training_that_was_cut_short_is_known_by_its_adapter(
    chain: Chain, out: Path, tmp_path: Path, recipe: Recipe
) -> None:
    assert not gates.cut_short(out)  # max_steps is not given, or ends nothing
    shutil.copytree(out, tmp_path / "out")
    manifest = tmp_path / "out" / "adapter" / "artifact.json"
    content = json.loads(manifest.read_text("utf-8"))
    content["figures"]["steps"]["planned"] -= 1
    manifest.write_text(json.dumps(content), "utf-8")
    assert gates.cut_short(tmp_path / "out")
    assert "The training was cut short" in fidelity_table.write(recipe, tmp_path / "out")
