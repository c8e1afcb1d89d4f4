"""The table of what each step lost: the right figures, the right red lines."""

import json
import math
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from poem_build.cli import pipeline
from poem_build.data.chats import read_chats
from poem_build.engine.llama import Llama
from poem_build.errors import GateError
from poem_build.export import merge
from poem_build.export.convert import ConvertReport
from poem_build.export.gguf import convert_folder
from poem_build.export.merge import MergeReport
from poem_build.export.quantization import quantize_file
from poem_build.export.quantized import QuantizeReport
from poem_build.judge import fidelity
from poem_build.judge.asked import Seen, by_llama, by_transformers
from poem_build.judge.fidelity import FidelityReport, Nearness
from poem_build.judge.interval import Interval
from poem_build.models.device import Asked
from poem_build.models.family import family
from poem_build.models.files import F16, IMATRIX, SERVED
from poem_build.models.likelihood import rounding_in
from poem_build.models.load import load_model, load_tokenizer
from poem_build.models.origin import read_origin, write_origin
from poem_build.models.tokens import Tokens
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact
from poem_build.store.folder import MANIFEST
from poem_build.store.stage import Finished, Job
from poem_build.train.adapter import TrainReport
from support.chain import changed, planted

Chain = dict[str, Artifact]


@pytest.fixture(scope="module")
def poems(chain: Chain, out: Path, recipe: Recipe) -> list[Tokens]:
    tokenizer, talk = load_tokenizer(out / "merged"), family(recipe.base.family)
    return [talk.tokens(tokenizer, chat) for chat in read_chats(out / "dataset" / "test.jsonl")[:2]]


@pytest.fixture(scope="module")
def base(recipe: Recipe) -> Path:
    assert recipe.base.path is not None
    return recipe.base.path


def _plain(folder: Path, poem: Tokens) -> float:
    """The log-probability of the answer, all logits at once."""
    ids = torch.tensor([poem.prompt + poem.answer])
    with torch.inference_mode():
        log_p = load_model(folder, "float32").eval()(input_ids=ids).logits[0].log_softmax(-1)
    right = range(len(poem.prompt), ids.shape[1])
    return float(sum(log_p[n - 1, ids[0, n]] for n in right))


def test_every_step_is_in_the_figures_and_the_table(chain: Chain, out: Path) -> None:
    report = chain["fidelity"].report(FidelityReport)
    assert (report.poems, list(report.steps)) == (6, ["base", "adapter", "merged", "f16", "Q4_K_M"])
    assert abs(report.f16_above_merged) < 1e-3
    assert report.tuned_above_base.mean > report.tuned_above_base.interval
    assert list(report.quantized) == ["f16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_K_M without the importance matrix"]
    assert report.quantized["f16"].kl_divergence == 0
    assert report.quantized["f16"].same_top_token == 1
    nearness = [one.kl_divergence for kind, one in report.quantized.items() if kind != "f16"]
    assert 0 < nearness[0] < nearness[1] < nearness[2] < 0.5
    assert nearness[1] < nearness[3] < 0.5  # so small a model gains next to nothing by the matrix
    text = (out / "fidelity.md").read_text("utf-8")
    assert "| token ids: transformers, llama.cpp | 0 of 50 texts differ | 0 | ok |" in text
    assert "| tensors that no K-quant could take | 0 of " in text
    assert text.count("\n| Q4_K_M |") == 2
    assert "red" not in text


def test_the_log_probability_is_that_of_the_plain_way(chain: Chain, out: Path, base: Path, poems: list[Tokens]) -> None:
    seen = by_transformers(base, out / "adapter", out / "merged", poems)
    for name, folder in (("base", base), ("merged", out / "merged")):
        assert seen[name].poems == pytest.approx([_plain(folder, poem) for poem in poems], rel=1e-5)
    assert seen["adapter"].poems == pytest.approx(seen["merged"].poems, rel=0.01)
    assert seen["adapter"].poems != seen["base"].poems
    both = by_llama({"f16": out / "f16" / F16}, poems)["f16"]
    assert both.poems == pytest.approx(seen["merged"].poems, rel=1e-3)


def test_what_16_bits_round_off_is_told_and_not_refused(
    chain: Chain, out: Path, base: Path, poems: list[Tokens], recipe: Recipe
) -> None:
    exact = by_transformers(base, out / "adapter", out / "merged", poems)
    near = by_transformers(base, out / "adapter", out / "merged", poems, Asked("cpu", "bfloat16", "bfloat16 on a GPU"))
    off = max(
        abs(a - b) / len(poem.answer) for a, b, poem in zip(exact["base"].poems, near["base"].poems, poems, strict=True)
    )
    assert 0 < off < rounding_in("bfloat16")
    report = chain["fidelity"].report(FidelityReport)
    assert {"asked", "rounding"} & report.model_dump().keys() == set()
    seen = {"f16_above_merged": 0.03, "adapter_moves": 0.5, "merge_moves": 0.09}
    lines = fidelity.red_lines(report.model_copy(update=seen), recipe.gate)
    assert [line.key for line in lines if not line.holds] == ["merge_within", "nll_within"]
    rounded = report.model_copy(update=seen | {"asked": "bfloat16 on a GPU", "rounding": rounding_in("bfloat16")})
    assert all(line.holds for line in fidelity.red_lines(rounded, recipe.gate))
    assert rounded.model_dump()["asked"] == "bfloat16 on a GPU"


def test_logits_come_the_same_in_any_portion_and_after_any_poem(chain: Chain, out: Path, poems: list[Tokens]) -> None:
    path = out / "f16" / F16
    fresh, used = Llama(path, 2048), Llama(path, 2048)
    for _ in used.answer_logits(poems[1].prompt, poems[1].answer):
        pass
    whole = np.concatenate(list(fresh.answer_logits(poems[0].prompt, poems[0].answer)))
    portions = list(used.answer_logits(poems[0].prompt, poems[0].answer, rows=7))
    assert whole.shape[0] == len(poems[0].answer)
    assert {len(rows) for rows in portions[:-1]} == {7}
    np.testing.assert_allclose(np.concatenate(portions), whole, atol=0.02)


def test_the_figures_are_their_formulas() -> None:
    seen = {step: Seen([-10.0 - n, -20.0 - n], [-1.0 * n, n]) for n, step in enumerate(reversed(fidelity.STEPS))}
    seen["merged"].tokens = [-3.0, 3.5]
    seen["Q8_0"] = Seen([-10.0, -20.0], kl_divergence=1.5, same_top=7)
    told = fidelity.figures(seen, 10, {"Q8_0": 123})
    assert told.steps["Q4_K_M"] == fidelity.Step(
        log_probability=Interval(mean=-15.0, interval=9.8),  # deviation 7.071, 1.96 · 7.071 / √2
        nll=3.0,
        change=Interval(mean=1.0, interval=0.0),
    )
    assert told.tuned_above_base == Interval(mean=4.0, interval=0.0)
    assert (told.adapter_moves, told.merge_moves) == (1.0, 0.25)
    assert told.quantized["Q8_0"] == fidelity.Nearness(
        bytes=123, perplexity=round(math.exp(3.0), 4), kl_divergence=0.15, same_top_token=0.7
    )


FAR = Nearness(bytes=1, perplexity=9.0, kl_divergence=0.3, same_top_token=0.6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        (
            {"merge_moves": 0.25},
            r"gate\.merge_within: what the merge loses of the adapter: 25\.0% \(0\.2500 of 1\.0000 nats a token\), "
            r"asked for at most 10\.0%",
        ),
        ({"f16_above_merged": -0.002}, r"gate\.nll_within: .*: 0\.002000, asked for at most 0\.001000"),
        ({"quantized": {"Q4_K_M": FAR}}, r"gate\.kl_within: .*: 0\.30000, asked for at most 0\.10000"),
        ({"tuned_above_base": Interval(mean=3.0, interval=3.5)}, r"gate\.gain_above: .*: -0\.50 \(\+3\.000 ± 3\.500\)"),
    ],
)
@pytest.mark.parametrize("cut_short", [False, True])
def test_each_red_line_refuses_unless_only_a_whole_training_reaches_it(
    chain: Chain, recipe: Recipe, tmp_path: Path, change: dict[str, object], message: str | None, cut_short: bool
) -> None:
    good = {"f16_above_merged": 1e-5, "tuned_above_base": Interval(mean=3.0, interval=1.0)}
    good |= {"adapter_moves": 1.0, "merge_moves": 0.01}
    report = chain["fidelity"].report(FidelityReport).model_copy(update=good | change)
    made = chain["fidelity"]
    assert made.manifest is not None
    manifest = made.manifest.model_copy(update={"report": report.model_dump(mode="json")})
    write_origin(tmp_path, read_origin(chain["gguf"].path), cut_short=cut_short)
    inputs = {"gguf": replace(chain["gguf"], path=tmp_path)}
    told = cut_short and change.keys() & {"merge_moves", "quantized", "tuned_above_base"}
    with pytest.raises(GateError, match=rf"fidelity\.md: {message}") if message and not told else nullcontext():
        fidelity.gate(Finished(recipe, replace(made, manifest=manifest), inputs))


@pytest.fixture
def wrong(chain: Chain, out: Path, tmp_path: Path) -> Path:
    """A copy of the chain for a fault to be planted in."""
    shutil.copytree(out, tmp_path / "out")
    return tmp_path / "out"


def test_another_models_gguf_is_refused_and_the_table_shows_it(
    chain: Chain, wrong: Path, base: Path, recipe: Recipe
) -> None:
    def work(job: Job) -> ConvertReport:
        origin = write_origin(job.folder, read_origin(job.path("merged")))
        convert_folder(base, job.folder / F16, recipe, origin)
        return chain["f16"].report(ConvertReport)

    workshop = planted(recipe, wrong, "convert", work)
    pipeline.make(workshop, "convert")
    pipeline.make(workshop, "quantize")
    for _ in range(2):
        with pytest.raises(GateError, match=r"fidelity\.md: gate\.nll_within: f16 GGUF off transformers"):
            pipeline.make(workshop, "fidelity")
    assert "| **red** |" in (wrong / "fidelity.md").read_text("utf-8")
    kept = workshop.look("fidelity").artifact
    assert kept is not None
    assert kept.report(FidelityReport).f16_above_merged > 0.1


def test_an_adapter_that_is_merged_at_half_its_strength_is_refused(wrong: Path, recipe: Recipe, tmp_path: Path) -> None:
    def work(job: Job) -> MergeReport:
        weak = shutil.copytree(job.path("adapter"), tmp_path / "weak")
        config = json.loads((weak / "adapter_config.json").read_text("utf-8"))
        config["lora_alpha"] *= 0.5
        (weak / "adapter_config.json").write_text(json.dumps(config), "utf-8")
        return merge.run(replace(job, inputs={**job.inputs, "adapter": replace(job.inputs["adapter"], path=weak)}))

    workshop = planted(recipe, wrong, "merge", work)
    for name in ("merge", "convert", "quantize"):
        pipeline.make(workshop, name)
    with pytest.raises(GateError, match=r"gate\.merge_within: what the merge loses of the adapter: \d\d\.\d%"):
        pipeline.make(workshop, "fidelity")
    assert "| what the merge loses of the adapter | " in (wrong / "fidelity.md").read_text("utf-8")


def test_an_adapter_that_makes_the_poems_less_likely_is_refused(chain: Chain, wrong: Path, recipe: Recipe) -> None:
    def work(job: Job) -> TrainReport:
        shutil.copytree(chain["adapter"].path, job.folder, ignore=shutil.ignore_patterns(MANIFEST), dirs_exist_ok=True)
        weights = job.folder / "adapter_model.safetensors"
        save_file({name: one * (-1 if "lora_B" in name else 1) for name, one in load_file(weights).items()}, weights)
        return chain["adapter"].report(TrainReport)

    workshop = planted(recipe, wrong, "train", work)
    for name in ("train", "merge", "convert", "quantize"):
        pipeline.make(workshop, name)
    with pytest.raises(GateError, match=r"gate\.gain_above: .*: -\d+\.\d\d "):
        pipeline.make(workshop, "fidelity")


def test_a_quantization_that_loses_too_much_is_refused(chain: Chain, wrong: Path, recipe: Recipe) -> None:
    def work(job: Job) -> QuantizeReport:
        write_origin(job.folder, read_origin(job.path("f16")))
        shutil.copyfile(chain["gguf"].path / IMATRIX, job.folder / IMATRIX)
        coarse: Any = "Q2_K"
        quantize_file(job.path("f16", F16), job.folder / SERVED, coarse)
        return chain["gguf"].report(QuantizeReport)

    lost = chain["fidelity"].report(FidelityReport).quantized["Q4_K_M"].kl_divergence
    strict = changed(recipe, "gate", kl_within=2 * lost)
    assert lost > 0
    fidelity.gate(Finished(strict, chain["fidelity"], {"gguf": chain["gguf"]}))
    workshop = planted(strict, wrong, "quantize", work)
    pipeline.make(workshop, "quantize")
    with pytest.raises(GateError, match=r"gate\.kl_within: Q4_K_M off the f16 GGUF, KL divergence in nats a token"):
        pipeline.make(workshop, "fidelity")
