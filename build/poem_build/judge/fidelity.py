"""Base, adapter, merged model, f16 and Q4_K_M → how likely each holds the same right poems, and what each step lost.

Perplexity, KL divergence and same top token are those of llama.cpp's perplexity tool (its
tools/perplexity/README.md), over the tokens of held-out answers instead of running text: exp of the mean negative
log-likelihood; the mean over tokens of KL(f16 ‖ quantized); the share of tokens where both put the same one first.
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict

from poem_build.data.chats import read_chats
from poem_build.engine.llama import Llama
from poem_build.errors import GateError
from poem_build.export.quantization import Quantization, quantize_file
from poem_build.judge.interval import Interval, mean_interval
from poem_build.models import family
from poem_build.models.files import F16, IMATRIX, SERVED
from poem_build.models.likelihood import answer_losses
from poem_build.models.load import load_adapted, load_model, load_tokenizer
from poem_build.models.origin import read_origin
from poem_build.models.tokens import Tokens
from poem_build.progress import progress
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Finished, Job, Stage, part

if TYPE_CHECKING:
    import numpy as np

LAST = "Q4_K_M"
STEPS = ("base", "adapter", "merged", "f16", LAST)
"""What is made from what, in order; a step's loss is reckoned against the one before."""
TABLE = "fidelity.md"


@dataclass(slots=True)
class Seen:
    """What one model said of the poems: the log-probability of each in nats, and how near it is to the f16 GGUF."""

    poems: list[float] = field(default_factory=list)
    kl_divergence: float = 0.0
    same_top: int = 0


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

    poems: int
    tokens: int
    steps: dict[str, Step]
    tuned_above_base: Interval
    f16_above_merged: float
    quantized: dict[str, Nearness]


def run(job: Job) -> FidelityReport:
    """Measure every step on `gate.fidelity_poems` held-out poems."""
    tokenizer, talk = load_tokenizer(job.path("merged")), family.family(job.recipe.base.family)
    chats = read_chats(job.path("dataset", "test.jsonl"))[: job.recipe.gate.fidelity_poems]
    poems = [talk.tokens(tokenizer, chat) for chat in chats]
    seen = by_transformers(job.path("base"), job.path("adapter"), job.path("merged"), poems)
    with tempfile.TemporaryDirectory(dir=job.folder) as room:
        files = _quantized(job.path("f16", F16), job.path("gguf"), Path(room))
        seen |= by_llama(files, poems)
        sizes = {name: path.stat().st_size for name, path in files.items()}
    return figures(seen, sum(len(poem.answer) for poem in poems), sizes)


def gate(finished: Finished) -> None:
    """Refuses an f16 GGUF that is not within `gate.nll_within` of transformers, and a tuned model no likelier to write
    the poems than its base is; the latter is only told of where the training was cut short."""
    report, within = finished.artifact.report(FidelityReport), finished.recipe.gate.nll_within
    table = finished.artifact.path.parent / TABLE
    off, gain = report.f16_above_merged, report.tuned_above_base
    if abs(off) > within:
        raise GateError(
            f"{table}: gate.nll_within: the f16 GGUF is {off:+.6f} nats a token from transformers, "
            f"{within:g} is allowed; the converter does not know this model well"
        )
    if gain.mean <= gain.interval and not read_origin(finished.inputs["gguf"].path).cut_short:
        raise GateError(
            f"{table}: tuned above base: a held-out poem's log-probability changed by {gain.mean:+.2f} nats, "
            f"which is not above its 95 % interval of ±{gain.interval:.2f}; train longer"
        )


STAGE = Stage(
    name="fidelity",
    summary="Show what each step from base to Q4_K_M lost; refuses where it is unfaithful.",
    makes="fidelity",
    work=run,
    report=FidelityReport,
    settings=part("gate", "fidelity_poems"),
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


def by_transformers(base: Path, adapter: Path, merged: Path, poems: Sequence[Tokens]) -> dict[str, Seen]:
    """Base, base with adapter, and merged model, in float32."""
    model = load_model(base, "float32")
    found = {"base": _asked(model, poems)}
    found["adapter"] = _asked(load_adapted(model, adapter), poems)
    del model
    return found | {"merged": _asked(load_model(merged, "float32"), poems)}


def by_llama(files: Mapping[str, Path], poems: Sequence[Tokens]) -> dict[str, Seen]:
    """Each GGUF beside the first of them, which is f16; side by side, so that no logits have to be kept."""
    import numpy as np

    models = {name: Llama(path, max(map(len, poems))) for name, path in files.items()}
    found = {name: Seen() for name in files}
    for poem in progress(poems, "asking the GGUF files"):
        for seen in found.values():
            seen.poems.append(0.0)
        begin = 0
        for chunk in zip(*(model.answer_logits(poem.prompt, poem.answer) for model in models.values()), strict=True):
            right = np.array(poem.answer[begin : begin + len(chunk[0])])
            begin += len(right)
            reference = _log_softmax(chunk[0])
            for seen, logits in zip(found.values(), chunk, strict=True):
                asked = _log_softmax(logits)
                seen.poems[-1] += float(asked[np.arange(len(right)), right].sum(dtype=np.float64))
                seen.kl_divergence += float((np.exp(reference) * (reference - asked)).sum(dtype=np.float64))
                seen.same_top += int((reference.argmax(axis=1) == asked.argmax(axis=1)).sum())
    return found


def _asked(model: Any, poems: Sequence[Tokens]) -> Seen:
    import torch

    model.eval()
    with torch.inference_mode():
        return Seen([-float(answer_losses(model, [poem])[0].sum()) for poem in progress(poems, "asking transformers")])


def _quantized(f16: Path, served: Path, room: Path) -> dict[str, Path]:
    """The f16 GGUF, its quantizations made in `room` by the same importance matrix, and the served one as it is."""
    files = {"f16": f16}
    for kind in get_args(Quantization):
        files[kind] = served / SERVED if kind == LAST else room / f"{kind}.gguf"
        if kind != LAST:
            quantize_file(f16, files[kind], kind, served / IMATRIX)
    return files


def _log_softmax(logits: "np.ndarray") -> "np.ndarray":
    """Row by row; the sum runs in float64, as 262,144 addends want it."""
    import numpy as np

    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(shifted - np.log(total).astype(np.float32))


def _nll(seen: Seen, tokens: int) -> float:
    return -sum(seen.poems) / tokens


def _paired(now: Seen, before: Seen) -> Interval:
    return mean_interval([a - b for a, b in zip(now.poems, before.poems, strict=True)])
