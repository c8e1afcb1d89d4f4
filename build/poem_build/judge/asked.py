"""Models and poems → what each model says of them: log-probabilities, and how near a GGUF is to the f16 one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poem_build.engine.llama import Llama
from poem_build.models.device import PLAINLY, Asked
from poem_build.models.likelihood import answer_losses
from poem_build.models.load import load_adapted, load_model
from poem_build.models.tokens import Tokens
from poem_build.plan.machine import free_memory
from poem_build.progress import progress

if TYPE_CHECKING:
    import numpy as np


@dataclass(slots=True)
class Seen:
    """What one model said of the poems: the log-probability of each in nats, and how near it is to the f16 GGUF."""

    poems: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    """The same of each of their tokens."""
    kl_divergence: float = 0.0
    same_top: int = 0


def by_transformers(
    base: Path, adapter: Path, merged: Path, poems: Sequence[Tokens], how: Asked = PLAINLY
) -> dict[str, Seen]:
    """Base, base with adapter, and merged model."""
    model = load_model(base, how.dtype, how.device)
    found = {"base": _asked(model, poems)}
    found["adapter"] = _asked(load_adapted(model, adapter), poems)
    del model
    return found | {"merged": _asked(load_model(merged, how.dtype, how.device), poems)}


def by_llama(files: Mapping[str, Path], poems: Sequence[Tokens]) -> dict[str, Seen]:
    """Each GGUF beside the first of them, which is f16; side by side, so that no logits have to be kept.

    All at once, or one after the other where the memory has no room for all.
    """
    (first, reference), *others = files.items()
    if sum(path.stat().st_size for path in files.values()) < free_memory():
        return _side_by_side(files, poems)
    found: dict[str, Seen] = {}
    for name, path in others:
        found |= _side_by_side({first: reference, name: path}, poems)
    return {name: found[name] for name in files}


def _side_by_side(files: Mapping[str, Path], poems: Sequence[Tokens]) -> dict[str, Seen]:
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
                chosen = asked[np.arange(len(right)), right]
                seen.poems[-1] += float(chosen.sum(dtype=np.float64))
                seen.tokens += chosen.tolist()
                seen.kl_divergence += float((np.exp(reference) * (reference - asked)).sum(dtype=np.float64))
                seen.same_top += int((reference.argmax(axis=1) == asked.argmax(axis=1)).sum())
    return found


def _asked(model: Any, poems: Sequence[Tokens]) -> Seen:
    import torch

    model.eval()
    seen = Seen()
    with torch.inference_mode():
        for poem in progress(poems, "asking transformers"):
            losses = answer_losses(model, [poem])[0]
            seen.poems.append(-float(losses.sum()))
            seen.tokens += (-losses[0]).tolist()
    return seen


def _log_softmax(logits: "np.ndarray") -> "np.ndarray":
    """Row by row; the sum runs in float64, as 262,144 addends want it."""
    import numpy as np

    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(shifted - np.log(total).astype(np.float32))
