"""LoRA by peft: the base stays as it is, in 16 bits or 8, and what is trained beside it is the adapter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poem_build.models.load import load_model, load_tokenizer
from poem_build.models.tokens import Tokens
from poem_build.train.answers import train_on_answers
from poem_build.train.protocol import Setup, Trained
from poem_build.train.quantized import prepared, quantization
from poem_build.train.targets import target_modules


def train(setup: Setup, train: Sequence[Tokens], valid: Sequence[Tokens]) -> Trained:
    """Train the adapter and leave it in the target."""
    adapted = adapt(setup)
    return train_on_answers(adapted, setup, train, valid)


def adapt(setup: Setup) -> Any:
    """The base with a fresh adapter on it, the same one for the same seed."""
    import peft
    import torch

    spec, device = setup.spec, setup.device
    torch.manual_seed(spec.seed)
    how = quantization(spec.weight_bits, device)
    model = load_model(setup.base, device.dtype, setup.place, how)
    lora = lora_config(setup, model)
    adapted = peft.get_peft_model(prepared(model) if how else model, lora)
    # peft holds them as a set, whose order in the file would be another in each process.
    lora.target_modules = sorted(lora.target_modules)
    return adapted


def lora_config(setup: Setup, model: Any) -> Any:
    """What peft is told of the adapter."""
    import peft

    spec = setup.spec
    return peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=target_modules(model, setup.family),
        trainable_token_indices=_token_ids(setup.base, spec.new_tokens) or None,
    )


def _token_ids(base: Path, texts: Sequence[str]) -> list[int]:
    if not texts:
        return []
    tokenizer = load_tokenizer(base)
    return sorted({i for text in texts for i in tokenizer.encode(text, add_special_tokens=False)})
