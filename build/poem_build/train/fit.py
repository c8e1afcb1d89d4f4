"""A model with what is trained of it and tokenized examples → the trained model, in place, and how its loss went.

Every random choice follows from the recipe's seed, and all that a step depends on is in the checkpoint. So a training
that was killed ends as the same training would have without it, byte for byte on the same machine with the same number
of threads.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from poem_build.models.device import Device
from poem_build.models.tokens import Tokens
from poem_build.recipe.training import Train
from poem_build.train import checkpoints
from poem_build.train.batches import plan
from poem_build.train.loop import curves, kept, out_of_patience, trainer


class Fit:
    """One training: `run` takes it from its last checkpoint, or from the start, to its end.

    Losses are in nats an answer token: `train` has one a step, `valid` (steps done, loss) pairs, the first at 0.
    """

    def __init__(
        self, model: Any, train: Sequence[Tokens], valid: Sequence[Tokens], spec: Train, device: Device
    ) -> None:
        self.model, self.held_out, self.spec, self.device = model, valid, spec, device
        self.plan = plan(train, spec)
        self.train: list[float] = []
        self.valid: list[tuple[int, float]] = []
        self.resumed_at: int | None = None

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.train)

    @property
    def tokens(self) -> int:
        """Tokens, prompt and answer, in the steps done."""
        return sum(len(tokens) for batch in self.plan[: self.step] for tokens in batch)

    @property
    def kept(self) -> tuple[int, float]:
        """The step whose weights are kept, and its validation loss."""
        return kept(self.valid)

    def run(self, folder: Path) -> Any:
        """Train to the end, with checkpoints in the folder; the model is then at its best step of those looked at.

        Returns the library's loop.
        """
        course = carry_out(
            lambda resumed: trainer(self, folder, resumed=resumed), folder, len(self.plan), self.spec.patience
        )
        self.train, self.valid, self.resumed_at = course.train, course.valid, course.resumed_at
        return course.loop


class Course(NamedTuple):
    """How a training went."""

    train: list[float]
    valid: list[tuple[int, float]]
    resumed_at: int | None
    loop: Any


def carry_out(make: Callable[[bool], Any], folder: Path, steps: int, patience: int) -> Course:
    """Run a loop of the library to its end, from its last checkpoint or from the start, and take its best weights.

    `make` is told whether the training goes on; what has ended already is only read.
    """
    resumed_at = checkpoints.latest(folder)
    loop, state, begin = make(resumed_at is not None), None, None
    if resumed_at is not None:
        begin = str(checkpoints.path_of(folder, resumed_at))
        state = _state_of(folder, resumed_at)
    if state is None or not _ended(*curves(state), steps, patience):
        loop.train(resume_from_checkpoint=begin)
        state = loop.state
    train, valid = curves(state)
    best = kept(valid)[0]
    if best != len(train) or resumed_at == len(train):
        _take(loop, str(checkpoints.path_of(folder, best)))
    return Course(train, valid, resumed_at, loop)


def _take(loop: Any, checkpoint: str) -> None:
    """The weights of the checkpoint."""
    if not loop.is_deepspeed_enabled:
        loop._load_from_checkpoint(checkpoint)
        return
    from transformers.integrations.deepspeed import deepspeed_load_checkpoint

    deepspeed_load_checkpoint(loop.model_wrapped, checkpoint, load_module_strict=False)


def _ended(train: Sequence[float], valid: Sequence[tuple[int, float]], steps: int, patience: int) -> bool:
    return len(train) == steps or out_of_patience(valid, patience)


def _state_of(folder: Path, step: int) -> Any:
    from transformers import TrainerState

    return TrainerState.load_from_json(str(checkpoints.path_of(folder, step) / "trainer_state.json"))
