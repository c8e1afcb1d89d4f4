"""What a trainer is to the stage: examples in, an adapter in a folder out, and how its loss went."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from poem_build.models.tokens import Tokens
from poem_build.train.trial import NumberFormat


class Steps(BaseModel):
    """How many steps a training took, and of how many."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    done: int
    planned: int
    whole: int
    """Without `train.max_steps`."""
    kept: int
    """The step whose adapter is kept."""
    resumed_at: int | None


@dataclass(frozen=True)
class Trained:
    """How a training went; losses are in nats an answer token."""

    train: Sequence[float]
    """One a step."""
    valid: Sequence[tuple[int, float]]
    """(steps done, loss) pairs, the first before the training."""
    kept: tuple[int, float]
    steps: Steps
    tokens: int
    trainable: int
    number_format: NumberFormat


class Trainer(Protocol):
    """One way to train."""

    def train(
        self, base: Path, train: Sequence[Tokens], valid: Sequence[Tokens], target: Path, checkpoints: Path
    ) -> Trained:
        """Train on the base and leave the adapter in `target`; what is in `checkpoints` is gone on from."""
