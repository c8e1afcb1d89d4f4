"""A training that finds no memory → one line: the settings to change and what each saves, as the plan reckons it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from poem_build.errors import DeviceError
from poem_build.models.device import Device, ran_out
from poem_build.plan.machine import GIGA, gpu_count
from poem_build.plan.memory import Place, Training, training_needs
from poem_build.plan.plan import lighter, worded
from poem_build.recipe.shape import Shape

_TOLD = 3


class Change(NamedTuple):
    """A setting as the recipe would have it, and the bytes that it saves."""

    setting: str
    saves: int


@contextmanager
def named(how: Training, shape: Shape, device: Device) -> Iterator[None]:
    """What runs out of memory inside ends in one line."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not ran_out(str(error)):
            raise
        place: Place = "gpu" if device.torch == "cuda" else "ram"
        told = ", ".join(
            f"train.{change.setting} saves {change.saves / GIGA:.1f} GB" for change in changes(how, shape, place)
        )
        raise DeviceError(f"train: out of memory on {device.name or device.kind}; computed: {told}") from error


def changes(how: Training, shape: Shape, place: Place) -> list[Change]:
    """Three settings, or as many as are left, with the bytes that each saves where memory ran out."""
    gpus = max(2, gpu_count())

    def taken(how: Training) -> int:
        return next(need.total for need in training_needs(shape, how, place, gpus) if need.place == place)

    others = [(worded(change), replace(how, **change)) for change in lighter(how, place)]
    others.append(('offload = "optimizer"', replace(how, offload="optimizer")))
    others.append((f'launch = "zero3" on {gpus} GPUs', replace(how, launch="zero3")))
    found = [Change(setting, taken(how) - taken(other)) for setting, other in others]
    return [change for change in found if change.saves > 0][:_TOLD]
