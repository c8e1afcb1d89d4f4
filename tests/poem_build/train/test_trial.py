"""The choice of the number format, with models that only differ in how long they take."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from poem_build.models.tokens import Tokens
from poem_build.train.trial import number_format

BATCH = [Tokens((0,) * 48, (1,) * 32)]


class Model(torch.nn.Module):  # type: ignore[misc]
    """As slow as its format is told to be."""

    def __init__(self, dtype: str, seconds: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(8, dtype=getattr(torch, dtype)))
        self.seconds, self.lengths = seconds, list[int]()

    def forward(self, input_ids: torch.Tensor, logits_to_keep: int, **_: Any) -> Any:
        self.lengths.append(input_ids.shape[1])
        time.sleep(self.seconds)
        return SimpleNamespace(logits=self.weight.expand(*input_ids.shape, 8)[:, -logits_to_keep:].contiguous())


def _models(**seconds: float) -> dict[str, Model]:
    return {dtype: Model(dtype, spent) for dtype, spent in seconds.items()}


def test_the_faster_format_is_taken_and_the_hopeless_one_tried_on_a_sixteenth(tmp_path: Path) -> None:
    models = _models(float32=0.01, bfloat16=0.3)
    told = number_format(tmp_path, models.__getitem__, BATCH)
    assert told.dtype == "float32"
    assert told.seconds_a_step["bfloat16"] > 0.3
    assert (models["float32"].lengths, models["bfloat16"].lengths) == ([5, 80, 80, 80], [5])
    assert number_format(tmp_path / "other", _models(float32=0.1, bfloat16=0.01).__getitem__, BATCH).dtype == (
        "bfloat16"
    )


def test_a_training_that_goes_on_keeps_its_format(tmp_path: Path) -> None:
    told = number_format(tmp_path / "new", _models(float32=0.01, bfloat16=0.05).__getitem__, BATCH)
    assert json.loads((tmp_path / "new" / "dtype.json").read_text("utf-8")) == told.model_dump()
    assert number_format(tmp_path / "new", _models(float32=0.1, bfloat16=0.0).__getitem__, BATCH) == told
