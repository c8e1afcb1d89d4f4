"""A model with what is trained of it → the same after its training on answers, and how that went."""

from collections.abc import Sequence
from typing import Any

from poem_build.models.tokens import Tokens
from poem_build.train.batches import plan
from poem_build.train.fit import Fit
from poem_build.train.protocol import Setup, Steps, Trained


def train_on_answers(model: Any, setup: Setup, train: Sequence[Tokens], valid: Sequence[Tokens]) -> Trained:
    """Train in place, from the last checkpoint if a process was killed at it."""
    spec = setup.spec
    fit = Fit(model, train, valid, spec, setup.device)
    fit.run(setup.room)
    return Trained(
        train=fit.train,
        valid=fit.valid,
        kept=fit.kept,
        steps=Steps(
            done=fit.step,
            planned=len(fit.plan),
            whole=len(plan(train, spec.model_copy(update={"max_steps": None}))),
            kept=fit.kept[0],
            resumed_at=fit.resumed_at,
        ),
        tokens=fit.tokens,
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )
