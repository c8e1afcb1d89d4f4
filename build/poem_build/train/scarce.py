"""A training that finds no memory → one line: the three settings to change and what each of them saves, computed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from poem_build.errors import DeviceError
from poem_build.models.device import Device
from poem_build.recipe.shape import Shape
from poem_build.recipe.training import BITS_OF, Train

_TOLD = 3
_ACTIVATIONS, _KEPT = 34, 2
"""Bytes that a layer keeps of each token and number of its width for the backward pass in 16 bits, attention's square
aside, and those that are left where all but its input is computed anew (Korthikanti et al. 2022, arXiv:2205.05198)."""
_MOMENTS = 8
"""Bytes of AdamW's two moments in float32, for each parameter that is trained."""
_MASTER = 16
"""Bytes of a parameter that is trained itself: weight, gradient and moments in float32."""
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory")


class Change(NamedTuple):
    """A setting as the recipe would have it, and the bytes that it saves."""

    setting: str
    saves: float


@contextmanager
def named(spec: Train, shape: Shape, longest: int, device: Device) -> Iterator[None]:
    """What runs out of memory inside ends in one line."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in _SIGNS):
            raise
        told = ", ".join(
            f"train.{change.setting} saves {change.saves / 1e9:.1f} GB" for change in changes(spec, shape, longest)
        )
        raise DeviceError(f"train: out of memory on {device.name or device.kind}; computed: {told}") from error


def changes(spec: Train, shape: Shape, longest: int) -> list[Change]:
    """Three settings, or as many as are left; first those that change nothing of the result."""
    size = spec.micro_batch or spec.batch
    places = size * longest * shape.hidden_size * shape.layers
    kept = _KEPT if spec.gradient_checkpointing else _ACTIVATIONS
    trained = shape.parameters if spec.method == "full" else shape.adapter_parameters(spec.r)
    found = []
    if not spec.gradient_checkpointing:
        found.append(Change("gradient_checkpointing = true", places * (_ACTIVATIONS - _KEPT)))
    if size > 1:
        found.append(Change(f"micro_batch = {size // 2}", places * kept * (1 - (size // 2) / size)))
    if spec.method == "full":
        found.append(Change('method = "lora"', shape.parameters * (_MASTER - 2)))
    elif spec.weight_bits > 4:
        narrower = [bits for bits in BITS_OF[spec.method] if bits < spec.weight_bits]
        bits = max(narrower, default=4)
        setting = f"bits = {bits}" if narrower else 'method = "qlora", bits = 4'
        found.append(Change(setting, shape.parameters * (spec.weight_bits - bits) / 8))
    if spec.offload == "none":
        found.append(Change('offload = "optimizer"', trained * _MOMENTS))
    if spec.launch != "zero3":
        found.append(Change('launch = "zero3" on two GPUs', shape.parameters * spec.weight_bits / 8 / 2))
    return found[:_TOLD]
