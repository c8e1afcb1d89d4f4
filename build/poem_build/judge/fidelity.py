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

from poem_build.data.dataset import read_examples
from poem_build.engine.llama import Llama
from poem_build.errors import GateError
from poem_build.export import imatrix
from poem_build.export.convert import FILE as F16_FILE
from poem_build.export.quantize import FILE as GGUF_FILE
from poem_build.export.quantize import Quantization, quantize_file
from poem_build.judge import gates
from poem_build.judge.interval import mean_interval
from poem_build.models.load import load_adapted, load_model, load_tokenizer
from poem_build.progress import progress
from poem_build.recipe.schema import Gate, Recipe
from poem_build.report import fidelity_table
from poem_build.store import artifact
from poem_build.store.artifact import Artifact
from poem_build.train.batches import Tokens, answer_losses, tokenize
from poem_build.train.lora import base_digest

if TYPE_CHECKING:
    import numpy as np

SERVED = "Q4_K_M"
STEPS = ("base", "adapter", "merged", "f16", SERVED)
"""What is made from what, in order; a step's loss is reckoned against the one before."""


@dataclass(slots=True)
class Seen:
    """What one model said of the poems: the log-probability of each in nats, and how near it is to the f16 GGUF."""

    poems: list[float] = field(default_factory=list)
    kl_divergence: float = 0.0
    same_top: int = 0


def run(recipe: Recipe, out: Path) -> Artifact:
    """Measure every step on `gate.fidelity_poems` held-out poems, then judge; what was measured is kept either way.

    Raises `GateError` for an f16 GGUF that is not within `gate.nll_within` of transformers, and for a served model
    that holds the poems no likelier than the base does. The latter is only told of if `train.max_steps` cut the
    training short.
    """
    adapter, merged, f16, gguf, dataset = (
        artifact.load(out, stage) for stage in ("adapter", "merged", "f16", "gguf", "dataset")
    )
    count = recipe.gate.fidelity_poems

    def work(folder: Path) -> dict[str, Any]:
        tokenizer = load_tokenizer(merged.path)
        examples = read_examples(dataset.path / "test.jsonl")[:count]
        poems = [tokenize(tokenizer, recipe.base.family, example) for example in examples]
        seen = by_transformers(recipe.base.path, adapter.path, merged.path, poems)
        with tempfile.TemporaryDirectory(dir=folder) as room:
            files = _quantized(f16.path / F16_FILE, gguf.path, Path(room))
            seen |= by_llama(files, poems)
            sizes = {name: path.stat().st_size for name, path in files.items()}
        return figures(seen, sum(len(poem.answer) for poem in poems), sizes)

    settings = {"poems": count} | artifact.versions("torch", "transformers", "llama-cpp-python")
    inputs = {made.stage: made.digest for made in (adapter, merged, f16, gguf, dataset)}
    made = artifact.make(out, "fidelity", work, settings=settings, inputs=inputs | {"base": base_digest(recipe)})
    fidelity_table.write(recipe, out)
    refuse(made.figures, recipe.gate, out / fidelity_table.FILE, cut_short=gates.cut_short(out))
    return made


def refuse(told: Mapping[str, Any], gate: Gate, table: Path, *, cut_short: bool) -> None:
    """Raise `GateError` for the first red line, naming the table."""
    off, gain = told["f16_above_merged"], told["tuned_above_base"]
    if abs(off) > gate.nll_within:
        raise GateError(
            f"{table}: gate.nll_within: the f16 GGUF is {off:+.6f} nats a token from transformers, "
            f"{gate.nll_within:g} is allowed; the converter does not know this model well"
        )
    if gain["mean"] <= gain["interval"] and not cut_short:
        raise GateError(
            f"{table}: tuned above base: a held-out poem's log-probability changed by {gain['mean']:+.2f} nats, "
            f"which is not above its 95 % interval of ±{gain['interval']:.2f}; train longer"
        )


def figures(seen: Mapping[str, Seen], tokens: int, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Every step's log-probability a poem with its paired change, and the quantizations beside f16."""
    steps: dict[str, Any] = {}
    for before, step in zip((None, *STEPS), STEPS, strict=False):
        steps[step] = {"log_probability": mean_interval(seen[step].poems), "nll": round(_nll(seen[step], tokens), 5)}
        if before:
            steps[step]["change"] = _paired(seen[step], seen[before])
    return {
        "poems": len(seen["base"].poems),
        "tokens": tokens,
        "steps": steps,
        "tuned_above_base": _paired(seen[SERVED], seen["base"]),
        "f16_above_merged": round(_nll(seen["f16"], tokens) - _nll(seen["merged"], tokens), 6),
        "quantized": {
            name: {
                "bytes": size,
                "perplexity": round(math.exp(_nll(seen[name], tokens)), 4),
                "kl_divergence": round(seen[name].kl_divergence / tokens, 5),
                "same_top_token": round(seen[name].same_top / tokens, 4),
            }
            for name, size in sizes.items()
        },
    }


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
        files[kind] = served / GGUF_FILE if kind == SERVED else room / f"{kind}.gguf"
        if kind != SERVED:
            quantize_file(f16, files[kind], kind, served / imatrix.FILE)
    return files


def _log_softmax(logits: "np.ndarray") -> "np.ndarray":
    """Row by row; the sum runs in float64, as 262,144 addends want it."""
    import numpy as np

    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(shifted - np.log(total).astype(np.float32))


def _nll(seen: Seen, tokens: int) -> float:
    return -sum(seen.poems) / tokens


def _paired(now: Seen, before: Seen) -> dict[str, float]:
    return mean_interval([a - b for a, b in zip(now.poems, before.poems, strict=True)])
