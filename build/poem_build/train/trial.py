"""A real batch → the number format in which this machine trains faster, tried once and kept for the whole training.

bfloat16 halves the weights' memory, but a processor without instructions for it takes twice the time, or a hundred
times: without AVX-512 one backward pass of a head of 262,144 tokens takes minutes. So a sixteenth of the batch is
tried first.
"""

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from poem_build.models.likelihood import answer_losses
from poem_build.models.tokens import Tokens
from poem_build.store.folder import write_text

FORMATS = ("float32", "bfloat16")
_STEPS = 3
_SIXTEENTH = 16
_HOPELESS = 2.0


class NumberFormat(BaseModel):
    """The format that is trained in, and the seconds of a step in each that was tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    dtype: str
    seconds_a_step: dict[str, float] = {}


def number_format(folder: Path, build: Callable[[str], Any], batch: Sequence[Tokens]) -> NumberFormat:
    """The format chosen, and the seconds that a step took in each.

    `build` gives the model in a format. What was found is written to the folder, and found again there by a training
    that goes on: it must not change its mind.
    """
    path = folder / "dtype.json"
    if path.is_file():
        return NumberFormat.model_validate_json(path.read_text("utf-8"))
    seconds: dict[str, float] = {}
    for dtype in FORMATS:
        seconds[dtype] = _fastest_step(build(dtype), batch, min(seconds.values(), default=float("inf")) * _HOPELESS)
        gc.collect()  # the model is large, and the next one comes before Python would look
    chosen = NumberFormat(
        dtype=min(FORMATS, key=lambda dtype: seconds[dtype]),
        seconds_a_step={dtype: round(spent, 4) for dtype, spent in seconds.items()},
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, chosen.model_dump_json() + "\n")
    return chosen


def _fastest_step(model: Any, batch: Sequence[Tokens], limit: float) -> float:
    """Seconds of the fastest of a few passes forth and back.

    A pass beyond `limit` seconds is the last, and if that is the first, over a sixteenth of the tokens, its seconds
    are what is told: a whole one takes longer.
    """
    model.train()
    first = _seconds(model, [_sixteenth(tokens) for tokens in batch])
    found: list[float] = []
    while first <= limit and len(found) < _STEPS:
        found.append(_seconds(model, batch))
        if found[-1] > limit:
            break
    return min(found, default=first)


def _seconds(model: Any, batch: Sequence[Tokens]) -> float:
    start = time.perf_counter()
    losses, mask = answer_losses(model, batch)
    (losses.sum() / mask.sum()).backward()
    return time.perf_counter() - start


def _sixteenth(tokens: Tokens) -> Tokens:
    """The end of the prompt and the beginning of the answer, at least a token of each."""
    prompt, answer = (max(1, len(part) // _SIXTEENTH) for part in (tokens.prompt, tokens.answer))
    return Tokens(tokens.prompt[-prompt:], tokens.answer[:answer])
