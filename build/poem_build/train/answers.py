"""A model with what is trained of it → the same after its training on answers, and how that went."""

from collections.abc import Sequence
from typing import Any

from poem_build.errors import ModelFileError
from poem_build.models.likelihood import keeps_apart
from poem_build.models.tokens import Tokens
from poem_build.train.batches import plan
from poem_build.train.fit import Fit
from poem_build.train.protocol import Setup, Steps, Trained


def train_on_answers(
    model: Any, setup: Setup, train: Sequence[Tokens], valid: Sequence[Tokens], dtype: Any = None
) -> Trained:
    """Train, from the last checkpoint if a process was killed at it, and leave what was trained in the target.

    All of it is in `dtype` then, if one is given.
    """
    spec = setup.spec
    if spec.packing and not keeps_apart(model):
        raise ModelFileError(
            f"train.packing: {model.config.model_type} models see the other examples of a row; leave packing out"
        )
    fit = Fit(model, train, valid, spec, setup.device)
    loop = fit.run(setup.room)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    leave(loop, model, setup, dtype)
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
        trainable=trainable,
    )


def leave(loop: Any, model: Any, setup: Setup, dtype: Any = None) -> None:
    """Write the model, or its adapter, to the target, from the first of the processes."""
    state = loop.accelerator.get_state_dict(loop.model_wrapped) if loop.is_deepspeed_enabled else None
    if state is None and dtype is not None:
        model.to(dtype)
    elif state is not None and dtype is not None:
        state = {name: value.to(dtype) for name, value in state.items()}
    if loop.is_world_process_zero():
        model.save_pretrained(setup.target, state_dict=state)
