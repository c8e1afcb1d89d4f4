"""A list of GPUs with dated prices, and the work of a training → hours and dollars on each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from poem_build.errors import PlanError
from poem_build.recipe.lists import read_list

MACHINES = Path(__file__).resolve().parents[2] / "machines.toml"


class Gpu(BaseModel):
    """A GPU; what nobody at hand tells is None."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    memory: float = Field(gt=0)
    tflops: float | None = Field(default=None, gt=0)
    bandwidth: float | None = Field(default=None, gt=0)
    hour: float | None = Field(default=None, ge=0)
    source: str
    dated: str


class Machines(BaseModel):
    """The list."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    efficiency: float = Field(gt=0, le=1)
    efficiency_source: str
    gpus: Mapping[str, Gpu]


@dataclass(frozen=True)
class Run:
    """A training and a served poem on one GPU; None where the list does not tell what it follows from."""

    gpu: str
    memory: float
    fits: bool
    hours: float | None
    usd: float | None
    poem_s: float | None
    dated: str


def load_machines(path: Path = MACHINES) -> Machines:
    """The list in a file. Raises `PlanError` naming the file, the field and what is allowed."""
    return read_list(path, Machines, PlanError, "give a list by --machines")


def runs(machines: Machines, needed: int, operations: float, bytes_a_poem: float) -> list[Run]:
    """Every GPU: whether so many bytes fit, and what so many operations and bytes read take there."""
    found = []
    for name, gpu in machines.gpus.items():
        hours = operations / (gpu.tflops * 1e12 * machines.efficiency) / 3600 if gpu.tflops else None
        usd = hours * gpu.hour if hours is not None and gpu.hour is not None else None
        poem = bytes_a_poem / (gpu.bandwidth * 1e9) if gpu.bandwidth else None
        found.append(Run(name, gpu.memory, needed <= gpu.memory * 1e9, hours, usd, poem, gpu.dated))
    return found
