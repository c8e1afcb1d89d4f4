"""A shape, a training and a context → the bytes that each stage has in memory at once, by what they are for.

Reckoned for the worst moment of each; `python -m bench.memory` holds it beside what a run takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from poem_build.plan.sizes import size
from poem_build.recipe.shape import Shape

LIBRARIES = 620_000_000
"""Python with PyTorch and transformers, before there is a model."""
PEFT = 330_000_000
"""What peft brings along, and bitsandbytes with it; transformers imports it whenever it loads a model."""
CONVERTER = 110_000_000
"""llama.cpp's converter, and the vocabularies that are compared."""
ENGINE = 65_000_000
"""llama.cpp and what it keeps besides weights, cache and logits."""
_PORTION = 1 << 26
"""Bytes of a matrix that the merge has before it at a time."""
_FOUR_BITS = 4.13 / 8
"""NF4 with double quantization (Dettmers et al. 2023, arXiv:2305.14314, section 3): a weight with its scales."""
_BATCHED = 512
"""Tokens that llama.cpp takes at once."""

Place = Literal["gpu", "ram"]


@dataclass(frozen=True)
class Training:
    """How a model is trained, as far as its memory tells."""

    method: str
    bits: int
    number: int
    """Bytes of a number that is reckoned with: 4 in float32, 2 in bfloat16."""
    r: int
    dropout: bool
    micro_batch: int
    checkpointing: bool
    offload: str
    tokens: int
    """Of the longest example."""
    answer: int
    """Of these, in its answer."""
    new_tokens: int = 0


@dataclass(frozen=True)
class Need:
    """What a stage has in memory at once, in bytes."""

    stage: str
    place: Place
    parts: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def training_needs(shape: Shape, how: Training, place: Place) -> list[Need]:
    """Of training: where it runs, and beside a GPU what is offloaded to the machine's own memory.

    Without a GPU the C library keeps as much again as the activations are: a step of `tiny` that saves 0.64 GB for its
    backward pass makes the process grow by 1.28.
    """
    weights, adapter, gradients, optimizer = _trained(shape, how)
    parts = {
        "base": weights,
        "adapter": adapter,
        "gradients": gradients,
        "optimizer": optimizer,
        "activations": _activations(shape, how),
        "logits": how.micro_batch * (how.answer + 1) * shape.vocab_size * (how.number + 4 * (how.number == 2)),
    }
    if place == "ram":
        kept = {"freed, not given back": parts["activations"]}
        return [Need("train", "ram", {"libraries": LIBRARIES + PEFT, **parts, **kept})]
    away = {"layers": ("base", "optimizer", "gradients"), "optimizer": ("optimizer", "gradients")}.get(how.offload, ())
    there = {name: value for name, value in parts.items() if name not in away}
    if "base" in away:
        there["a layer"] = 2 * weights // shape.layers
    return [
        Need("train", "gpu", there),
        Need("train", "ram", {"libraries": LIBRARIES + PEFT, **{f"{name}, offloaded": parts[name] for name in away}}),
    ]


def merge_need(shape: Shape) -> Need:
    """Of the merge: a portion of a matrix in the stored format, its change and their sum in float32, and the result."""
    largest = max(matrix.rows * matrix.columns for matrix in (*shape.attention, *shape.feed_forward))
    return Need("merge", "ram", {"libraries": LIBRARIES + PEFT, "a portion": min(_PORTION, 2 * largest) * 6})


def quantize_need(shape: Shape, texts: int, tokens: int) -> Need:
    """Of quantizing: the importance matrix's run over the model in float32, which takes more than rounding does."""
    largest = 4 * max(matrix.rows * matrix.columns for matrix in shape.matrices)
    if not texts:
        return Need("quantize", "ram", {"libraries": LIBRARIES + ENGINE, "a matrix": largest + largest // 4})
    wide = (
        shape.heads * shape.head_dim + 2 * shape.hidden_size + 3 * shape.intermediate_size * max(1, shape.experts_used)
    )
    return Need(
        "quantize",
        "ram",
        {
            "libraries": LIBRARIES + PEFT + ENGINE,
            "model in float32": 4 * shape.parameters,
            "activations": 4 * tokens * wide,
        },
    )


def convert_need(shape: Shape) -> Need:
    """Of converting: the largest matrix, as it is and in float32."""
    largest = max(matrix.rows * matrix.columns for matrix in shape.matrices)
    return Need("convert", "ram", {"libraries": LIBRARIES + CONVERTER, "a matrix": 6 * largest})


def serve_need(shape: Shape, context: int, place: Place, mixture: str) -> Need:
    """Of serving: the weights, the cache of keys and values in 16 bits, and the logits of a batch."""
    return Need(
        "serve",
        place,
        {
            "engine": ENGINE,
            "weights": size(shape, mixture),
            "KV cache": 2 * shape.kv_values(context),
            "a batch": 4 * _BATCHED * (shape.vocab_size // 8 + 4 * shape.hidden_size + 2 * shape.intermediate_size),
        },
    )


def adapter_parameters(shape: Shape, r: int) -> int:
    """Of A and B for every projection of the layers; experts that are one tensor together have none."""
    adapted = shape.attention if shape.experts else (*shape.attention, *shape.feed_forward)
    return sum(r * (matrix.rows + matrix.columns) * matrix.count for matrix in adapted)


def frozen_bytes(shape: Shape, bits: int, number: int) -> int:
    """The weights as they are trained beside: in four or eight bits the layers' alone, the embeddings as they come."""
    if bits == 16:
        return shape.parameters * number
    ends = sum(matrix.parameters for matrix in shape.embeddings)
    return round(ends * 2 + (shape.parameters - ends) * (_FOUR_BITS if bits == 4 else 1.0))


def _trained(shape: Shape, how: Training) -> tuple[int, int, int, int]:
    """Bytes of weights, adapter, gradients and optimizer: AdamW keeps two numbers in float32 for each it trains."""
    if how.method == "full":
        return shape.parameters * how.number, 0, shape.parameters * how.number, 8 * shape.parameters
    trained = adapter_parameters(shape, how.r) + how.new_tokens * shape.hidden_size
    return frozen_bytes(shape, how.bits, how.number), 4 * trained, 4 * trained, 8 * trained


def _activations(shape: Shape, how: Training) -> int:
    """What the backward pass needs of the forward one.

    A token leaves in a layer the inputs of two norms and what they make of them; query, key and value as many as there
    are heads, and attention's result; in the feed-forward part gate, its SiLU, the other half, and their product. An
    adapter's dropout keeps each matrix's input once more. With checkpointing each layer leaves its input alone, and one
    layer at a time the rest.
    """
    hidden, heads, feed = shape.hidden_size, shape.heads * shape.head_dim, _feed(shape)
    one = 4 * hidden + 4 * heads + 4 * feed
    if how.dropout:
        one += 5 * hidden + heads + feed
    tokens = how.micro_batch * how.tokens
    layers = 1 if how.checkpointing else shape.layers
    kept = hidden * shape.layers if how.checkpointing else 0
    return tokens * (one * layers + kept) * how.number


def _feed(shape: Shape) -> int:
    """Numbers between the feed-forward matrices that a token meets."""
    return shape.intermediate_size * max(1, shape.experts_used)
