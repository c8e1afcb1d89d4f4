"""A shape, a training and a context → the bytes that each stage has in memory at once, by what they are for.

Reckoned for the worst moment of each; `python -m bench.memory` holds it beside what a run takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from poem_build.models.device import ASIDE, WIDTHS, Asked
from poem_build.plan.lengths import Lengths
from poem_build.plan.sizes import size
from poem_build.recipe.shape import Shape
from poem_build.recipe.training import Method, Train

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
CUDA = 600_000_000
"""What a process takes of a GPU before there is a tensor: about that on an H200, CUDA 13."""
_SCORES = {"Gemma2ForCausalLM": 8, "GptOssForCausalLM": 2, "GPT2LMHeadModel": 12}
"""Bytes that a head keeps of each two tokens in a training, where PyTorch's fused attention does not know the way."""
_SHARED = {"zero2": ("gradients", "optimizer"), "zero3": ("base", "adapter", "gradients", "optimizer")}
"""What DeepSpeed spreads over the GPUs."""
_OFFLOADED = {
    **{(False, "none"): (), (False, "optimizer"): ("optimizer",), (False, "layers"): ("optimizer",)},
    **{(True, "none"): (), (True, "optimizer"): ("optimizer", "gradients")},
    (True, "layers"): ("base", "optimizer", "gradients"),
}
"""By whether DeepSpeed moves it: without, bitsandbytes' paged optimizer does, and moves nothing else."""
_BATCHED = 512
"""Tokens that llama.cpp takes at once."""

Place = Literal["gpu", "ram"]


@dataclass(frozen=True)
class Training:
    """How a model is trained, as far as its memory tells."""

    method: Method
    bits: int
    number: int
    """Bytes of a number that is reckoned with: 4 in float32, 2 in bfloat16."""
    r: int
    dropout: bool
    micro_batch: int
    gradient_checkpointing: bool
    offload: str
    tokens: int
    """Of the longest example."""
    answer: int
    """Of these, in its answer."""
    new_tokens: int = 0
    launch: str = "single"

    @classmethod
    def of(cls, spec: Train, dtype: str, tokens: int, answer: int) -> "Training":
        """As the recipe has it, in that number format, the longest example and its answer having so many tokens."""
        return cls(
            method=spec.method,
            bits=spec.weight_bits,
            number=4 if dtype == "float32" else 2,
            r=spec.r,
            dropout=bool(spec.lora_dropout),
            micro_batch=spec.micro_batch or spec.batch,
            gradient_checkpointing=spec.gradient_checkpointing,
            offload=spec.offload,
            tokens=tokens,
            answer=answer,
            new_tokens=len(spec.new_tokens) * 3,
            launch=spec.launch,
        )


@dataclass(frozen=True)
class Need:
    """What a stage has in memory at once, in bytes."""

    stage: str
    place: Place
    parts: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def training_needs(shape: Shape, how: Training, place: Place, gpus: int = 1) -> list[Need]:
    """Of training: on each of the GPUs and what is offloaded from them, or in the machine's own memory."""
    parts = {
        **_trained(shape, how, place),
        "activations": _activations(shape, how, place),
        "logits": _logits(shape, how),
        "in passing": _in_passing(shape, how),
    }
    libraries = {"libraries": LIBRARIES + PEFT}
    if place == "ram":
        return [Need("train", "ram", libraries | parts | {"not given back": _not_given_back(shape, how)})]
    away = _OFFLOADED[how.launch.startswith("zero"), how.offload]
    shared = _SHARED.get(how.launch, ())
    there = {name: value // (gpus if name in shared else 1) for name, value in parts.items() if name not in away}
    if "base" in away or "base" in shared:
        there["a layer"] = 2 * parts["base"] // shape.layers
    offloaded = {f"{name}, offloaded": parts[name] for name in away}
    return [
        Need("train", "gpu", {"CUDA": CUDA} | there),
        Need("train", "ram", {"libraries": processes(how, gpus) * (LIBRARIES + PEFT)} | offloaded),
    ]


def processes(how: Training, gpus: int) -> int:
    """How many train, each on a GPU of its own."""
    return 1 if how.launch == "single" else gpus


def dequantize_need(shape: Shape) -> Need:
    """Of a GGUF that is trained on: the whole model, and its largest matrix in float32."""
    largest = max(matrix.rows * matrix.columns for matrix in shape.matrices)
    parts = {"libraries": LIBRARIES + PEFT, "model in bfloat16": 2 * shape.parameters, "a matrix": 4 * largest}
    return Need("base", "ram", parts)


def merge_need(shape: Shape) -> Need:
    """Of the merge: a portion of a matrix in the stored format, its change and their sum in float32, and the result."""
    largest = max(matrix.rows * matrix.columns for matrix in (*shape.attention, *shape.feed_forward))
    return Need("merge", "ram", {"libraries": LIBRARIES + PEFT, "a portion": min(_PORTION, 2 * largest) * 6})


def copy_need() -> Need:
    """Of a GGUF that is taken as it is: its tensors go from one file to the other."""
    return Need("quantize", "ram", {"libraries": LIBRARIES})


def round_need(shape: Shape) -> Need:
    """Of quantizing without an importance matrix: the largest matrix, as it is read and as it becomes."""
    largest = 4 * max(matrix.rows * matrix.columns for matrix in shape.matrices)
    return Need("quantize", "ram", {"libraries": LIBRARIES + ENGINE, "a matrix": largest + largest // 4})


def asked_need(stage: str, shape: Shape, lengths: Lengths, how: Asked) -> Need:
    """Of a whole model that is asked: for the importance matrix, which takes more than rounding does, or fidelity."""
    weights = {f"model in {how.dtype}": WIDTHS[how.dtype] * shape.parameters}
    if how.device != "cpu":
        return Need(stage, "gpu", weights | {"CUDA, activations, logits": ASIDE})
    wide = (
        shape.heads * shape.head_dim + 2 * shape.hidden_size + 3 * shape.intermediate_size * max(1, shape.experts_used)
    )
    logits = {"logits": 8 * (lengths.answer + 1) * shape.vocab_size} if stage == "fidelity" else {}
    beside = {"libraries": LIBRARIES + PEFT + ENGINE}
    return Need(stage, "ram", beside | weights | {"activations": 4 * lengths.example * wide} | logits)


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


def frozen_bytes(shape: Shape, bits: int, number: int) -> int:
    """The weights as they are trained beside: in four or eight bits the layers' alone, the embeddings as they come.

    Experts stay in 16 bits too: transformers holds all of a layer's in one tensor, and bitsandbytes takes matrices.
    """
    if bits == 16:
        return shape.parameters * number
    less = sum(matrix.parameters for matrix in shape.modules)
    return round((shape.parameters - less) * number + less * (_FOUR_BITS if bits == 4 else 1.0))


def _trained(shape: Shape, how: Training, place: Place) -> dict[str, int]:
    """Weights, adapter, gradients and optimizer: AdamW keeps two numbers in float32 for each it trains, or in 8 bits.

    All weights are trained in float32, and so is an adapter.
    """
    trained = shape.adapter_parameters(how.r) + how.new_tokens * shape.hidden_size
    weights, adapter = frozen_bytes(shape, how.bits, how.number), 4 * trained
    if how.method == "full":
        trained, weights, adapter = shape.parameters, 4 * shape.parameters, 0
    paged = place == "gpu" and (how.bits != 16 or how.offload != "none")
    return {
        "base": weights,
        "adapter": adapter,
        "gradients": 4 * trained,
        "optimizer": (2 if paged else 8) * trained,
    }


def _sequences(how: Training) -> int:
    """At once; preferences come in twos."""
    return how.micro_batch * (2 if how.method == "dpo" else 1)


def _activations(shape: Shape, how: Training, place: Place) -> int:
    """What the backward pass needs of the forward one, counted as by Korthikanti et al. 2022 (arXiv:2205.05198, 4.1).

    With checkpointing each layer leaves its input alone, and one layer at a time the rest (the same, section 5).
    """
    tokens = _sequences(how) * how.tokens
    layers = 1 if how.gradient_checkpointing else shape.layers
    kept = shape.hidden_size * how.number * shape.layers if how.gradient_checkpointing else 0
    return tokens * (_of_a_layer(shape, how, place) * layers + kept)


def _of_a_layer(shape: Shape, how: Training, place: Place) -> int:
    """Bytes that a token leaves in a layer; held beside what PyTorch saves in tests/poem_build/plan/test_memory.py.

    Inputs of frozen matrices are not needed, nor is attention's square: queries, keys, values and the result are, and
    its row sums; gate, its SiLU, and the other half of the feed-forward part; in float32 what norms and adapters are
    given, with a copy and a mask where the adapter drops some out.
    """
    hidden, heads, feed = shape.hidden_size, shape.heads * shape.head_dim, _feed(shape)
    keys = heads if shape.window else shape.kv_heads * shape.head_dim  # a window's mask has keys and values repeated
    plain = 4 * 2 * hidden + how.number * (2 * heads + 2 * keys + 3 * feed) + 4 * (shape.heads + 7 * how.r)
    plain += _SCORES.get(shape.architecture, 0) * shape.heads * how.tokens
    inputs = (3 * hidden + heads) if shape.experts else (5 * hidden + heads + feed)
    if how.method != "full" and how.dropout:
        mask = 1 if place == "gpu" else 4
        return plain + (4 + mask) * inputs
    if how.method != "full" and how.number == 2:
        return plain + 4 * inputs
    return plain + how.number * (2 * hidden + (0 if shape.experts else feed))


def _logits(shape: Shape, how: Training) -> int:
    """Of the answers; the loss takes their place (models/cross_entropy.py), but for TRL's, which has all in float32.

    Prompts of unlike length in one batch add their difference, which is not counted, nor what a GPU turns at a time.
    """
    if how.method == "dpo":
        return _sequences(how) * how.tokens * shape.vocab_size * (how.number + 4)
    copies = 3 if shape.architecture == "Gemma2ForCausalLM" else 1  # it caps them
    return copies * how.micro_batch * (how.answer + 1) * shape.vocab_size * how.number


def _in_passing(shape: Shape, how: Training) -> int:
    """The gradients between the feed-forward matrices, and one quantized matrix as it is multiplied with."""
    largest = max(matrix.rows * matrix.columns for matrix in (*shape.attention, *shape.feed_forward))
    return how.number * (3 * _sequences(how) * how.tokens * _feed(shape) + (largest if how.bits < 16 else 0))


def _not_given_back(shape: Shape, how: Training) -> int:
    """What the C library keeps of freed memory: as much as plain activations are, whether dropout adds to them or not.

    Four trainings of `tiny`'s shape (one example and eight, with dropout, with checkpoints) are met within 2 % so.
    """
    return _activations(shape, replace(how, dropout=False, gradient_checkpointing=False), "ram")


def _feed(shape: Shape) -> int:
    """Numbers between the feed-forward matrices that a token meets."""
    return shape.intermediate_size * max(1, shape.experts_used)
