"""Base, adapter, merged model, f16 and Q4_K_M → how likely each holds the same right poems, and what each step lost.

Perplexity, KL divergence and same top token are those of llama.cpp's perplexity tool (its
tools/perplexity/README.md), over the tokens of held-out answers instead of running text: exp of the mean negative
log-likelihood; the mean over tokens of KL(f16 ‖ quantized); the share of tokens where both put the same one first.
"""

import math
import operator
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from poem.model_keys import ADAPTER_FILE
from poem_build.data.chats import read_chats
from poem_build.export.quantization import quantize_file
from poem_build.judge.asked import Seen, by_llama, by_transformers
from poem_build.judge.interval import Interval, mean_interval
from poem_build.models import family
from poem_build.models.files import F16, IMATRIX, QUANTIZED
from poem_build.models.likelihood import rounding_in
from poem_build.models.load import load_tokenizer, to_ask
from poem_build.models.origin import read_origin
from poem_build.recipe.gate import Gate
from poem_build.recipe.quantize import SERVED_MIXTURE, Quantize
from poem_build.store.artifact import Report
from poem_build.store.red_line import RedLine, refuse
from poem_build.store.stage import ALL, Finished, Job, Stage, part

LAST = SERVED_MIXTURE
UNWEIGHED = f"{LAST} without the importance matrix"
MERGED = f"{LAST}, merged"
"""Beside an adapter on a base that games share, what it is served instead of."""
STEPS = ("base", "adapter", "merged", "f16", LAST)
"""What is made from what, in order; a step's loss is reckoned against the one before."""
TABLE = "fidelity.md"


class Step(BaseModel):
    """A poem's log-probability after one step, and what the step changed, paired by poem."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    log_probability: Interval
    nll: float
    """Nats a token."""
    change: Interval | None


class Nearness(BaseModel):
    """How near a GGUF is to the f16 one."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bytes: int
    perplexity: float
    kl_divergence: float
    same_top_token: float


class FidelityReport(Report):
    """Every step's log-probability a poem with its paired change, and the quantizations beside f16."""

    version: ClassVar[int] = 2
    poems: int
    tokens: int
    steps: dict[str, Step]
    tuned_above_base: Interval
    adapter_moves: float
    """Mean |Δ log p| of a token, in nats, between the base and the base with its adapter."""
    merge_moves: float
    """The same between that and the merged model, which ought to be one model: 0 but for rounding."""
    f16_above_merged: float
    quantized: dict[str, Nearness]
    asked: str = Field(default="", exclude_if=operator.not_)
    """Where transformers ran and in which number format, where that is not float32 on the device of the recipe."""
    rounding: float = Field(default=0.0, exclude_if=operator.not_)
    """Nats that the likelihood of a token may be off by it."""


def run(job: Job) -> FidelityReport:
    """Measure every step on `gate.fidelity_poems` held-out poems."""
    tokenizer, talk = load_tokenizer(job.path("merged")), family.family(job.recipe.base.family)
    chats = read_chats(job.path("dataset", "test.jsonl"))[: job.recipe.gate.fidelity_poems]
    poems = [talk.tokens(tokenizer, chat) for chat in chats]
    how = to_ask(job.recipe, job.path("merged"))
    seen = by_transformers(job.path("base"), job.path("adapter"), job.path("merged"), poems, how)
    with tempfile.TemporaryDirectory(dir=job.folder) as room:
        files = _quantized(job.path("f16", F16), job.path("gguf"), job.recipe.quantize, Path(room))
        seen |= by_llama(files, poems)
        sizes = {name: path.stat().st_size for name, path in files.items()}
    found = figures(seen, sum(len(poem.answer) for poem in poems), sizes)
    rounding = 0.0 if how.dtype == "float32" else rounding_in(how.dtype)
    return found.model_copy(update={"asked": how.told, "rounding": rounding})


def red_lines(report: FidelityReport, asked: Gate) -> list[RedLine]:
    """What has to be faithful.

    A merge at half of the adapter's strength can make the poems likelier than the whole adapter does, so it is not
    their likelihood that tells: each token's moves about half as far back as the adapter has moved it. What 16 bits
    round off is no fault of either.
    """
    gain = report.tuned_above_base
    return [
        RedLine(
            "merge_within",
            "what the merge loses of the adapter",
            max(report.merge_moves - report.rounding, 0.0) / max(report.adapter_moves, 1e-9),
            asked.merge_within,
            "the merged weights are not base and adapter; `poem-build merge` again",
            sense="at most",
            note=f"{report.merge_moves:.4f} of {report.adapter_moves:.4f} nats a token",
        ),
        RedLine(
            "nll_within",
            "f16 GGUF off transformers, mean NLL in nats a token",
            max(abs(report.f16_above_merged) - report.rounding, 0.0),
            asked.nll_within,
            "the converter does not know this model well",
            sense="at most",
            shown=".6f",
            whole_training=False,
        ),
        RedLine(
            "kl_within",
            f"{LAST} off the f16 GGUF, KL divergence in nats a token",
            report.quantized[LAST].kl_divergence,
            asked.kl_within,
            "too much is lost in quantizing; a wider mixture, or a larger base",
            sense="at most",
            shown=".5f",  # who has not learnt these poems yet guesses widely, and loses more of it
        ),
        RedLine(
            "gain_above",
            f"a held-out poem, {LAST} above base, in nats beyond the interval",
            gain.mean - gain.interval,
            asked.gain_above,
            "train longer",
            sense="above",
            shown="+.2f",
            note=str(gain),
        ),
    ]


def gate(finished: Finished) -> None:
    """Refuses an unfaithful step, and a tuned model that is no likelier to write the poems than its base is."""
    report, table = finished.artifact.report(FidelityReport), finished.artifact.path.parent / TABLE
    cut_short = read_origin(finished.inputs["gguf"].path).cut_short
    refuse(red_lines(report, finished.recipe.gate), table, cut_short=cut_short)


STAGE = Stage(
    name="fidelity",
    summary="Show what each step from base to Q4_K_M lost; refuses where it is unfaithful.",
    makes="fidelity",
    work=run,
    report=FidelityReport,
    settings=lambda recipe: {
        **part("gate", "fidelity_poems")(recipe),
        "quantize": recipe.quantize.model_dump(mode="json", include={"compared"}),
    },
    inputs={"base": ALL, "adapter": ALL, "merged": ALL, "f16": (F16,), "gguf": ALL, "dataset": ("test.jsonl",)},
    outside=family.templates,
    modules=family.modules,
    packages=("torch", "transformers", "peft", "llama-cpp-python"),
    gate=gate,
)


def figures(seen: Mapping[str, Seen], tokens: int, sizes: Mapping[str, int]) -> FidelityReport:
    """The report of what each model said."""
    return FidelityReport(
        poems=len(seen["base"].poems),
        tokens=tokens,
        steps={
            step: Step(
                log_probability=mean_interval(seen[step].poems),
                nll=round(_nll(seen[step], tokens), 5),
                change=_paired(seen[step], seen[before]) if before else None,
            )
            for before, step in zip((None, *STEPS), STEPS, strict=False)
        },
        tuned_above_base=_paired(seen[LAST], seen["base"]),
        adapter_moves=_moved(seen["base"], seen["adapter"]),
        merge_moves=_moved(seen["adapter"], seen["merged"]),
        f16_above_merged=round(_nll(seen["f16"], tokens) - _nll(seen["merged"], tokens), 6),
        quantized={
            name: Nearness(
                bytes=size,
                perplexity=round(math.exp(_nll(seen[name], tokens)), 4),
                kl_divergence=round(seen[name].kl_divergence / tokens, 5),
                same_top_token=round(seen[name].same_top / tokens, 4),
            )
            for name, size in sizes.items()
        },
    )


def _quantized(f16: Path, served: Path, spec: Quantize, room: Path) -> dict[str, Path]:
    """The f16 GGUF, the quantizations that are kept, those made in `room` to be compared, by the same matrix or none.

    Where there is a matrix, the served mixture without it is the last, which tells what the matrix is worth; where the
    adapter is served unmerged, that mixture of the merged model, which tells what that costs.
    """
    files, matrix = {"f16": f16}, served / IMATRIX if (served / IMATRIX).is_file() else None
    for kind in spec.measured:
        files[kind] = served / QUANTIZED.format(kind)
        if kind not in spec.made:
            files[kind] = room / QUANTIZED.format(kind)
            quantize_file(f16, files[kind], kind, matrix)
    if matrix:
        files[UNWEIGHED] = room / "unweighed.gguf"
        quantize_file(f16, files[UNWEIGHED], LAST)
    if (served / ADAPTER_FILE).is_file():
        files[MERGED] = room / "merged.gguf"
        quantize_file(f16, files[MERGED], LAST)
    return files


def _nll(seen: Seen, tokens: int) -> float:
    return -sum(seen.poems) / tokens


def _moved(before: Seen, now: Seen) -> float:
    return round(math.fsum(abs(a - b) for a, b in zip(before.tokens, now.tokens, strict=True)) / len(now.tokens), 6)


def _paired(now: Seen, before: Seen) -> Interval:
    return mean_interval([a - b for a, b in zip(now.poems, before.poems, strict=True)])
