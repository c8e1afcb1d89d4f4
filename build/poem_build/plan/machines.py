"""A list of GPUs with dated prices, and of what a processor does in a second, and work → what it takes on each."""

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


class Processor(BaseModel):
    """What one of its cores does in a second, and how much its memory gives."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    gflops: float = Field(gt=0)
    squares: float = Field(gt=0)
    rounding: float = Field(gt=0)
    bandwidth: float = Field(gt=0)
    source: str
    dated: str


class Machines(BaseModel):
    """The list; without a processor nothing is told of what is done on one."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    efficiency: float = Field(gt=0, le=1)
    efficiency_source: str
    pass_s: float = Field(default=0, ge=0)
    processor: Processor | None = None
    gpus: Mapping[str, Gpu]


@dataclass(frozen=True)
class Work:
    """What a model asks of whoever makes and serves it."""

    train: float = 0.0
    """Operations of the training."""
    passes: float = 0.0
    """How often it goes forward and back."""
    weigh: float = 0.0
    """Operations of the model's run over the texts of the importance matrix."""
    squares: float = 0.0
    """Numbers that are squared meanwhile, on the processor wherever the model runs."""
    rounded: float = 0.0
    """Weights that are quantized."""
    read: float = 0.0
    """Bytes of weights for a poem."""


@dataclass(frozen=True)
class Run:
    """A training on one GPU or several of a kind, an importance matrix and a served poem on one.

    None where there is nothing to do or no room, or the list does not tell what it follows from.
    """

    gpu: str
    memory: float
    fits: bool
    hours: float | None
    usd: float | None
    """Of the training, on all of them."""
    weigh_s: float | None
    poem_s: float | None
    dated: str


def load_machines(path: Path = MACHINES) -> Machines:
    """The list in a file. Raises `PlanError` naming the file, the field and what is allowed."""
    return read_list(path, Machines, PlanError, "give a list by --machines")


def runs(machines: Machines, work: Work, room: Mapping[str, int], cores: int, trained_on: int = 1) -> list[Run]:
    """Every GPU, beside a processor of so many cores; `room` has the bytes to `train`, to `weigh` and to `serve`.

    `trained_on` GPUs share the training's examples among them; what they tell each other takes no time here.
    """
    squaring = _squaring(machines.processor, work, cores)
    found = []
    for name, gpu in machines.gpus.items():
        fits = {what: needed <= gpu.memory * 1e9 for what, needed in room.items()}
        speed = gpu.tflops and gpu.tflops * 1e12 * machines.efficiency
        least = work.passes * machines.pass_s
        alone = max(work.train / speed, least) / 3600 if speed and work.train and fits["train"] else None
        hours = alone / trained_on if alone is not None else None
        usd = alone * gpu.hour if alone is not None and gpu.hour is not None else None
        weigh = work.weigh / speed + squaring if speed and work.weigh and fits["weigh"] else None
        poem = work.read / (gpu.bandwidth * 1e9) if gpu.bandwidth and fits["serve"] else None
        found.append(Run(name, gpu.memory, fits["train"] and fits["serve"], hours, usd, weigh, poem, gpu.dated))
    return found


def on_processor(processor: Processor, work: Work, cores: int) -> dict[str, float]:
    """Seconds that each part of the work takes where so many cores do it alone."""
    speed = cores * processor.gflops * 1e9
    taken = {
        "train": work.train / speed,
        "imatrix": work.weigh / speed + _squaring(processor, work, cores),
        "quantize": work.rounded / (cores * processor.rounding * 1e6),
        "poem": work.read / (processor.bandwidth * 1e9),
    }
    return {what: seconds for what, seconds in taken.items() if seconds}


def _squaring(processor: Processor | None, work: Work, cores: int) -> float:
    return work.squares / (cores * processor.squares * 1e6) if processor else 0.0
