"""LoRA by Unsloth's kernels on an NVIDIA GPU, in 4 bits or 16; the adapter is peft's.

Run with unsloth 2026.10 on an H200 (docs/log.md). That release asks for transformers up to 5.17, so it lives in an
environment of its own.
"""

from collections.abc import Sequence
from typing import Any

from poem_build.errors import DeviceError
from poem_build.models.load import skeleton
from poem_build.models.tokens import Tokens
from poem_build.train.answers import train_on_answers
from poem_build.train.protocol import Setup, Trained
from poem_build.train.targets import target_modules


def train(setup: Setup, train: Sequence[Tokens], valid: Sequence[Tokens]) -> Trained:
    """Train the adapter and leave it in the target."""
    if setup.device.kind != "cuda":
        raise DeviceError(
            f"train.method: unsloth needs an NVIDIA GPU, this is {setup.device.kind}; give method = 'qlora' or 'lora'"
        )
    try:
        from unsloth import FastLanguageModel
    except ImportError as error:
        raise DeviceError(
            "train.method: unsloth is not installed; it asks for an older transformers, so give it an environment of "
            "its own, or give method = 'qlora'"
        ) from error
    adapted = _adapted(FastLanguageModel, setup, max(map(len, [*train, *valid])))
    return train_on_answers(adapted, setup, train, valid)


def _adapted(library: Any, setup: Setup, longest: int) -> Any:
    import torch

    spec = setup.spec
    model, _ = library.from_pretrained(
        model_name=str(setup.base),
        max_seq_length=longest,
        dtype=getattr(torch, setup.device.dtype),
        load_in_4bit=spec.weight_bits == 4,
    )
    modules = target_modules(skeleton(setup.base), setup.family)
    return library.get_peft_model(
        model,
        r=spec.r,
        target_modules=modules,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        bias="none",
        use_gradient_checkpointing="unsloth" if spec.gradient_checkpointing else False,
        random_state=spec.seed,
    )
