"""A real batch → the number format in which this machine trains faster, tried once and kept for the whole training.

bfloat16 halves the weights' memory, but a processor without instructions for it takes twice the time or more; which
of the two it is has to be seen.
"""

import gc
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from poem_build import artifact
from poem_build.batches import Tokens, answer_losses

FORMATS = ("float32", "bfloat16")
_STEPS = 3
_HOPELESS = 2.0


def number_format(folder: Path, build: Callable[[str], Any], batch: Sequence[Tokens]) -> dict[str, Any]:
    """The format chosen, under `dtype`, and the seconds that a step took in each, under `seconds_a_step`.

    `build` gives the model in a format. What was found is written to the folder, and found again there by a training
    that goes on: it must not change its mind.
    """
    path = folder / "dtype.json"
    if path.is_file():
        known: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return known
    seconds: dict[str, float] = {}
    for dtype in FORMATS:
        seconds[dtype] = _fastest_step(build(dtype), batch, min(seconds.values(), default=float("inf")) * _HOPELESS)
        gc.collect()  # the model is large, and the next one comes before Python would look
    told = {
        "dtype": min(FORMATS, key=lambda dtype: seconds[dtype]),
        "seconds_a_step": {dtype: round(spent, 4) for dtype, spent in seconds.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    artifact.write_text(path, json.dumps(told) + "\n")
    return told


def _fastest_step(model: Any, batch: Sequence[Tokens], limit: float) -> float:
    """Seconds of the fastest of a few passes forth and back; a pass beyond `limit` seconds is the last."""
    model.train()
    found: list[float] = []
    while len(found) <= _STEPS:
        start = time.perf_counter()
        losses, mask = answer_losses(model, batch)
        (losses.sum() / mask.sum()).backward()
        found.append(time.perf_counter() - start)
        if found[-1] > limit:
            break
    return min(found)
