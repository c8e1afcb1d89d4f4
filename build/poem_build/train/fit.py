"""A model with an adapter and tokenized examples → the trained adapter, in place, and how its loss went.

Every random choice follows from the recipe's seed and PyTorch's generator, and all that a step depends on is in
the checkpoint. So a training that was killed ends as the same training would have without it, byte for byte on
the same machine with the same number of threads.
"""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from poem_build.errors import GateError
from poem_build.models.likelihood import answer_losses
from poem_build.models.tokens import Tokens
from poem_build.progress import token_bar
from poem_build.recipe.schema import Train
from poem_build.train.batches import batches
from poem_build.train.checkpoints import Checkpoints
from poem_build.train.memory import give_back

if TYPE_CHECKING:
    import torch


class Fit:
    """One training: `run` takes it from its last checkpoint, or from the start, to its end.

    Losses are in nats an answer token: `train` has one a step, `valid` (steps done, loss) pairs, the first at 0.
    """

    def __init__(self, model: Any, train: Sequence[Tokens], valid: Sequence[Tokens], spec: Train) -> None:
        import torch

        self.model, self.held_out, self.spec = model, valid, spec
        self.plan = plan(train, spec)
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=spec.learning_rate, weight_decay=spec.weight_decay
        )
        warmup = max(1, round(len(self.plan) * spec.warmup))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda n: min((n + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * n / len(self.plan)))
        )
        self.train: list[float] = []
        self.valid: list[tuple[int, float]] = []
        self.best: dict[str, torch.Tensor] | None = None
        self.resumed_at: int | None = None

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.train)

    @property
    def tokens(self) -> int:
        """Tokens, prompt and answer, in the steps done."""
        return sum(len(tokens) for batch in self.plan[: self.step] for tokens in batch)

    def run(self, checkpoints: Checkpoints) -> None:
        """Train to the end; the model is then at its best step if looks were asked for, else at its last."""
        if state := checkpoints.latest():
            self._restore(state)
        else:
            self._look()
        every, saved = self.spec.evaluate_every, time.monotonic()
        total = sum(len(tokens) for batch in self.plan for tokens in batch)
        with token_bar("training", total, self.tokens) as bar:
            while self.step < len(self.plan) and not self._out_of_patience():
                batch = self.plan[self.step]
                self.train.append(self.descend(batch))
                if self.step == len(self.plan) or (every and not self.step % every):
                    self._look()
                if time.monotonic() - saved >= self.spec.checkpoint_s:
                    checkpoints.save(self._state())
                    saved = time.monotonic()
                bar(sum(map(len, batch)), f"step {self.step} of {len(self.plan)}, loss {self.train[-1]:.3f}")
        if self.best is not None:
            self._put(self.best)

    @property
    def kept(self) -> tuple[int, float]:
        """The step whose adapter is kept, and its validation loss."""
        return min(self.valid[1:], key=lambda look: look[1]) if self.spec.evaluate_every else self.valid[-1]

    def descend(self, batch: Sequence[Tokens]) -> float:
        """One step; returns the batch's mean loss before it."""
        import torch

        self.model.train()
        loss = self.gradients(batch)
        if not math.isfinite(loss):
            raise GateError(f"train.learning_rate: the loss is {loss} in step {self.step + 1}; give a lower rate")
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        give_back()
        return loss

    def gradients(self, batch: Sequence[Tokens]) -> float:
        """Add up the gradients of the batch's mean loss, and return that loss."""
        count = sum(len(tokens.answer) for tokens in batch)
        size = self.spec.micro_batch or len(batch)
        total = 0.0
        for start in range(0, len(batch), size):
            losses, _ = answer_losses(self.model, batch[start : start + size])
            loss = losses.sum() / count
            loss.backward()
            total += loss.item()
        return total

    def _look(self) -> None:
        """Take the validation loss; the best of the trained adapters is remembered."""
        loss = mean_loss(self.model, self.held_out, self.spec.micro_batch or self.spec.batch)
        self.valid.append((self.step, loss))
        if self.spec.evaluate_every and self.step and self.kept[0] == self.step:
            self.best = {name: p.detach().clone() for name, p in self.parameters.items()}

    def _out_of_patience(self) -> bool:
        if not self.spec.patience or len(self.valid) < 2:
            return False
        return sum(step > self.kept[0] for step, _ in self.valid) >= self.spec.patience

    def _state(self) -> dict[str, Any]:
        import torch

        return {
            "step": self.step,
            "train": self.train,
            "valid": self.valid,
            "best": self.best,
            "parameters": {name: p.detach() for name, p in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "generator": torch.get_rng_state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        import torch

        self._put(state["parameters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        self.train, self.valid, self.best = state["train"], state["valid"], state["best"]
        self.resumed_at = self.step

    def _put(self, values: dict[str, "torch.Tensor"]) -> None:
        import torch

        with torch.no_grad():
            for name, value in values.items():
                self.parameters[name].copy_(value)


def plan(examples: Sequence[Tokens], spec: Train) -> list[list[Tokens]]:
    """The batches of all steps, in order."""
    epochs = (batches(examples, spec.batch, f"{spec.seed} {epoch}") for epoch in range(spec.epochs))
    return [batch for epoch in epochs for batch in epoch][: spec.max_steps]


def mean_loss(model: Any, examples: Sequence[Tokens], size: int) -> float:
    """Mean negative log-likelihood in nats over all answer tokens, `size` examples at a time."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in batches(examples, size, "evaluation"):
            losses, mask = answer_losses(model, batch)
            total += float(losses.sum())
            count += int(mask.sum())
    return total / count
