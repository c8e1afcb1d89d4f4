"""What a trainer is to the stage: examples in, what was trained in a folder out, and how its loss went."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from poem_build.models.device import Device
from poem_build.models.family import Family
from poem_build.models.tokens import Tokens
from poem_build.recipe.training import Train


class Steps(BaseModel):
    """How many steps a training took, and of how many."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    done: int
    planned: int
    whole: int
    """Without `train.max_steps`."""
    kept: int
    """The step whose weights are kept."""
    resumed_at: int | None


class Trained(BaseModel):
    """How a training went; losses are in nats an answer token, or those of the preferences."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    train: list[float]
    """One a step."""
    valid: list[tuple[int, float]]
    """(steps done, loss) pairs, the first before the training."""
    kept: tuple[int, float]
    steps: Steps
    tokens: int
    trainable: int


@dataclass(frozen=True)
class Setup:
    """What every way to train is told."""

    base: Path
    family: Family
    spec: Train
    device: Device
    target: Path
    """Where what was trained is left."""
    room: Path
    """Checkpoints; those that are there are gone on from."""
    processes: int = 1
    """That train together, this one among them."""

    @property
    def place(self) -> str:
        """Where the weights are read to, as PyTorch names it; DeepSpeed spreads them itself."""
        return "cpu" if self.spec.launch.startswith("zero") else self.device.torch


class Trainer(Protocol):
    """One way to train: a module of this package, named by its method, with a `train`."""

    def train(self, setup: Setup, train: Sequence[Tokens], valid: Sequence[Tokens]) -> Trained:
        """Train on the base, and leave what was trained in the target."""
