"""Preferences → an adapter that makes what was chosen likelier than what was rejected (DPO, arXiv:2305.18290), by TRL.

The reference is the base without the adapter. Losses are DPO's own: ln 2 before the training.
"""

import math
from collections.abc import Sequence
from typing import Any

from poem_build.errors import RecipeError
from poem_build.models.load import load_model, load_tokenizer
from poem_build.models.tokens import Tokens
from poem_build.train.answers import leave
from poem_build.train.fit import carry_out
from poem_build.train.launch import micro_batches
from poem_build.train.loop import arguments_of, kept, watch
from poem_build.train.lora import lora_config
from poem_build.train.preferences import Preference, read_preferences
from poem_build.train.protocol import Setup, Steps, Trained
from poem_build.train.quantized import prepared, quantization

_HELD_OUT = 10
"""Each how many-th pair is looked at and not learnt from."""


def train(setup: Setup, train: Sequence[Tokens], valid: Sequence[Tokens]) -> Trained:
    """Train the adapter on the preferences that the recipe names; the data set's answers have no part in it."""
    spec = setup.spec
    assert spec.preferences is not None  # the recipe has been checked for it
    tokenizer = load_tokenizer(setup.base)
    pairs = read_preferences(spec.preferences, tokenizer, setup.family)
    held_out = pairs[::_HELD_OUT]
    learnt = [pair for n, pair in enumerate(pairs) if n % _HELD_OUT]
    whole = spec.epochs * math.ceil(len(learnt) / spec.batch)
    steps = min(whole, spec.max_steps or whole)
    course = carry_out(
        lambda resumed: _loop(setup, tokenizer, learnt, held_out, steps, resumed=resumed),
        setup.room,
        steps,
        spec.patience,
    )
    model = course.loop.model
    leave(course.loop, model, setup)
    best = kept(course.valid)
    return Trained(
        train=course.train,
        valid=course.valid,
        kept=best,
        steps=Steps(done=len(course.train), planned=steps, whole=whole, kept=best[0], resumed_at=course.resumed_at),
        tokens=sum(map(len, learnt)) * len(course.train) // math.ceil(len(learnt) / spec.batch),
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


def _loop(
    setup: Setup,
    tokenizer: Any,
    learnt: Sequence[Preference],
    held_out: Sequence[Preference],
    steps: int,
    *,
    resumed: bool,
) -> Any:
    import torch
    import transformers

    trl = _trl()

    class PreferenceTrainer(trl.DPOTrainer):  # type: ignore[misc, name-defined]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            """As it is: these are the tokens that are served."""
            return dataset

    spec, device = setup.spec, setup.device
    torch.manual_seed(spec.seed)
    how = quantization(spec.weight_bits, device)
    model = load_model(setup.base, device.dtype, setup.place, how)
    size, times = micro_batches(spec, setup.processes)
    made = PreferenceTrainer(
        model=prepared(model) if how else model,
        args=arguments_of(
            trl.DPOConfig,
            spec,
            device,
            steps,
            setup.room,
            beta=spec.beta,
            max_length=None,
            per_device_train_batch_size=size,
            per_device_eval_batch_size=size,
            gradient_accumulation_steps=times,
            lr_scheduler_type={"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}[
                spec.schedule
            ],
            warmup_steps=round(steps * spec.warmup),
            eval_on_start=not resumed,
        ),
        train_dataset=_rows(learnt),
        eval_dataset=_rows(held_out),
        processing_class=tokenizer,
        peft_config=lora_config(setup, model),
        callbacks=[watch([sum(map(len, learnt)) * spec.epochs // steps] * steps, spec)],
    )
    made.remove_callback(transformers.PrinterCallback)
    return made


def _rows(pairs: Sequence[Preference]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(
        [
            {"prompt_ids": list(pair.prompt), "chosen_ids": list(pair.chosen), "rejected_ids": list(pair.rejected)}
            for pair in pairs
        ]
    )


def _trl() -> Any:
    try:
        import trl
    except ImportError as error:
        raise RecipeError("train.method: dpo needs trl; pip install -e '.[gpu]'") from error
    return trl
