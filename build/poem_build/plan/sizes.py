"""A shape → the bytes of its model in each of llama.cpp's mixtures, and what a mixture was seen to lose.

The rules are those of llama.cpp's `llama_tensor_get_type`: which matrices of a mixture are kept exacter, and what is
taken for rows that no block of 256 fits.
"""

from collections.abc import Callable
from dataclasses import dataclass

from poem_build.recipe.quantize import MIXTURES
from poem_build.recipe.shape import Matrix, Shape

BITS = {
    **{"F32": 32.0, "F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_K": 5.5, "Q4_K": 4.5, "Q3_K": 3.4375},
    **{"Q2_K": 2.625, "Q5_1": 6.0, "Q5_0": 5.5, "IQ4_NL": 4.5},
}
"""Of a weight, with its share of the block's scales."""
_NARROW = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0", "Q3_K": "IQ4_NL", "Q2_K": "IQ4_NL"}
"""What is taken for rows that are no multiple of 256."""
_BLOCK, _SMALL_BLOCK = 256, 32
_LOSSES = {
    **{"Q8_0": 0.0026, "Q6_K": 0.0217, "Q5_K_M": 0.0569, "Q4_K_M": 0.1754, "Q3_K_M": 0.6569, "Q2_K": 3.5199},
    **{"F32": 0.0, "F16": 0.0},
}
LOSS_SOURCE = "llama.cpp, tools/quantize/quantize.cpp: perplexity added to Llama 3 8B, which has 6.2 or so"

Kind = Callable[[Matrix, int, Shape], str]


@dataclass(frozen=True)
class Size:
    """A mixture's bytes, its share of F32, and the perplexity that it added to Llama 3 8B (None: nobody told)."""

    mixture: str
    bytes: int
    share: float
    added_perplexity: float | None


def table(shape: Shape) -> list[Size]:
    """Every mixture, from FP32 to Q2_K."""
    whole = size(shape, "F32")
    return [
        Size(name, size(shape, name), size(shape, name) / whole, _LOSSES.get(name)) for name in ("F32", "F16", *_KINDS)
    ]


def size(shape: Shape, mixture: str) -> int:
    """Bytes of the weights; of a mixture whose rules are not here, by about how many bits a weight takes in it."""
    if mixture not in ("F32", "F16", *_KINDS):
        return round(shape.parameters * MIXTURES[mixture] / 8)
    bits = 0.0
    for matrix in shape.matrices:
        one = matrix.rows * matrix.columns
        layered = matrix.count >= shape.layers and matrix not in shape.embeddings
        layers = shape.layers if layered else 1
        each = matrix.count // layers
        bits += sum(each * one * BITS[_type(matrix, layer, shape, mixture)] for layer in range(layers))
    return round(bits / 8)


def _type(matrix: Matrix, layer: int, shape: Shape, mixture: str) -> str:
    if mixture in ("F32", "F16"):
        return mixture
    if matrix in shape.routers:
        return "F32"
    wanted = _KINDS[mixture](matrix, layer, shape)
    if matrix.columns % _BLOCK == 0 or wanted == "Q8_0":
        return wanted if matrix.columns % _SMALL_BLOCK == 0 else "F16"
    return _NARROW[wanted] if matrix.columns % _SMALL_BLOCK == 0 else "F16"


def _exacter(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and each third between them."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _is_output(matrix: Matrix, shape: Shape) -> bool:
    return matrix.name == ("token_embd" if shape.tied else "output")


def _medium(plain: str) -> Kind:
    """Q4_K_M and Q5_K_M: half of the value and down projections are in six bits."""

    def kind(matrix: Matrix, layer: int, shape: Shape) -> str:
        if _is_output(matrix, shape):
            return "Q6_K"
        if matrix.name == "attn_v" and shape.experts == _EIGHT:
            return "Q8_0"
        return "Q6_K" if matrix.name in ("attn_v", "ffn_down") and _exacter(layer, shape.layers) else plain

    return kind


_EIGHT = 8
"""Experts, as Mixtral has: their few attention matrices are kept exacter."""


def _q3_k_m(matrix: Matrix, layer: int, shape: Shape) -> str:
    first = {"attn_v": 2, "ffn_down": max(1, shape.layers // 16) if shape.layers >= 16 else 0}
    if _is_output(matrix, shape):
        return "Q6_K"
    if matrix.name in first:
        return "Q5_K" if layer < first[matrix.name] else "Q4_K"
    return "Q4_K" if matrix.name == "attn_output" else "Q3_K"


def _q2_k(matrix: Matrix, layer: int, shape: Shape) -> str:
    if _is_output(matrix, shape):
        return "Q6_K"
    if matrix.name == "attn_v":
        return "Q4_K" if shape.heads // shape.kv_heads >= 4 else "Q3_K"
    return "Q3_K" if matrix.name in ("ffn_down", "attn_output") else "Q2_K"


_KINDS: dict[str, Kind] = {
    "Q8_0": lambda *_: "Q8_0",
    "Q6_K": lambda *_: "Q6_K",
    "Q5_K_M": _medium("Q5_K"),
    "Q4_K_M": _medium("Q4_K"),
    "Q3_K_M": _q3_k_m,
    "Q2_K": _q2_k,
}
