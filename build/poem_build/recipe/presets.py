"""A recipe's own tables → the same with what they leave out, by the size of the model and the way it is trained.

Where a recipe gives a value, that one counts; where there is no `[train]` nothing is trained.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from poem_build.recipe.shape import Shape
from poem_build.recipe.training import BITS_OF, Bits

T = TypeVar("T")
_DATASET = {"train": 5000, "valid": 200, "test": 200, "handwritten": 4, "seed": 2}
_SERVE = {"num_ctx": 2048, "num_predict": 512, "temperature": 0.8, "top_p": 0.95, "top_k": 40}
_GATE = {
    **{"token_parity_texts": 1000, "smoke_hands": 10, "smoke_pass": 0.4},
    **{"eval_hands": 100, "eval_pass": 0.9, "base_pass_at_most": 0.5},
}
_ADAPTERS = (
    (20, {"r": 32, "lora_alpha": 64, "lora_dropout": 0.05, "gradient_checkpointing": True}),
    (7, {"r": 16, "lora_alpha": 32, "lora_dropout": 0.1}),
    (0, {"r": 8, "lora_alpha": 16, "lora_dropout": 0.1}),
)
"""From so many thousand millions of parameters on."""
_BATCHES = (
    (70, {16: 1, 8: 2, 4: 4}),
    (32, {16: 2, 8: 4, 4: 8}),
    (20, {16: 4, 8: 8, 4: 16}),
    (14, {16: 8, 8: 16, 4: 32}),
    (7, {16: 16, 8: 32, 4: 64}),
    (0, {16: 32, 8: 64, 4: 128}),
)
"""Examples a step, by the bits of the weights."""
_MICRO_BATCHES = ((20, 4), (3, 1), (2, 2), (0, 4))
"""Of these, examples in memory at once, for which a GPU of 24 GB has room, or of 48 from 14 on (`poem-build plan`)."""
_BITS = ((32, 4), (7, 8), (0, 16))
"""In which the frozen weights are held; experts are always in 16, nothing at hand quantizes them for a training."""
_WHATEVER_SIZE: Mapping[str, Bits] = {"unsloth": 4}
"""What a method holds them in though it has others."""
_RATES = {
    "full": {"learning_rate": 5e-5, "schedule": "cosine"},
    "lora": {"learning_rate": 2e-4, "schedule": "linear"},
    "qlora": {"learning_rate": 1e-4, "schedule": "constant"},
    "unsloth": {"learning_rate": 1e-4, "schedule": "constant"},
    "dpo": {"learning_rate": 5e-6, "schedule": "linear"},
}
"""By the method; a constant rate warms up too."""
_OFFLOAD = ((40, "layers"), (20, "optimizer"))
"""What leaves the GPU from so many gigabytes of weights on; layers are moved by DeepSpeed's ZeRO 3 alone."""
_EPOCHS = 2
NOTICES = {
    "Gemma Terms of Use": """
Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms
This model was modified: a LoRA adapter trained by mansion-poem is merged into the weights, which are quantized.
Whoever is given a copy, in an image or a bundle too, must be given this notice and those terms, and is bound by the
use restrictions in them (section 3.2 and the Prohibited Use Policy at ai.google.dev/gemma/prohibited_use_policy).""",
    "Llama 2 Community License": """
Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. All Rights Reserved.""",
    "Llama 3.1 Community License": """
Built with Llama. Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright © Meta Platforms, Inc. All
Rights Reserved.""",
}
"""What every copy has to carry, by the licence's name."""


def completed(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The recipe's content with what it leaves out; `known` are the fields that `[train]` has.

    A recipe without `[shape]` has to say everything itself; one with a wrong one is told so by whoever validates it.
    """
    if "shape" not in given:
        return dict(given)
    try:
        shape = Shape.model_validate(given["shape"])
    except ValidationError:
        return {"params": "", **given}
    gate = _GATE if "train" in given else _GATE | {"smoke_pass": 0.0}  # nobody has taught it the rules
    defaults: dict[str, Any] = {"dataset": _DATASET, "serve": _SERVE, "gate": gate}
    if isinstance(train := given.get("train"), Mapping):
        defaults["train"] = {key: value for key, value in training(shape, train).items() if key in known}
    content = {"params": count(shape.parameters), "notice": NOTICES.get(str(given.get("licence")), ""), **given}
    for name, values in defaults.items():
        if isinstance(table := given.get(name, {}), Mapping):
            content[name] = {**values, **table}
    return content


def training(shape: Shape, given: Mapping[str, Any]) -> dict[str, Any]:
    """How a model of that shape is trained, as far as the given `[train]` does not say it.

    Bits or a batch that are no whole number count as not given; whoever validates them tells so.
    """
    given = {key: value for key, value in given.items() if key not in ("bits", "batch") or isinstance(value, int)}
    size = shape.parameters / 1e9
    bits = given.get("bits") or _WHATEVER_SIZE.get(str(given.get("method"))) or _nearest(given, shape)
    method = given.get("method", "qlora" if bits == 4 else "lora")
    batch = given.get("batch") or _of(_BATCHES, size).get(bits, 1)
    offload = given.get("offload") or _of((*_OFFLOAD, (0, "none")), size * bits / 8)
    launch = given.get("launch") or ("zero3" if offload == "layers" else "single")
    if launch != "zero3" and offload == "layers":
        offload = "optimizer"
    return {
        **{"method": method, "bits": bits, "epochs": _EPOCHS},
        **_RATES.get(str(method), _RATES["lora"]),
        **_of(_ADAPTERS, size),
        **{"batch": batch, "micro_batch": min(batch, _of(_MICRO_BATCHES, size))},
        **{"offload": offload, "launch": launch},
    }


def _nearest(given: Mapping[str, Any], shape: Shape) -> Bits:
    """To the bits that are right for the size, those that the method has."""
    right = 16 if shape.experts else _of(_BITS, shape.parameters / 1e9)
    return min(BITS_OF.get(str(given.get("method")), get_args(Bits)), key=lambda bits: abs(bits - right))


def count(parameters: int) -> str:
    """`4.7M`, `494M`, `7.6B`: as models are named."""
    if parameters >= 0.95e9:
        return f"{parameters / 1e9:.1f}B"
    return f"{parameters / 1e6:.{1 if parameters < 10e6 else 0}f}M"


def _of(table: Sequence[tuple[int, T]], size: float) -> T:
    """The row of the first bound that the size, rounded, reaches: 6.7 is a model of 7."""
    return next(row for bound, row in table if round(size) >= bound)
