"""This machine → the memory and disk that are free on it, and one line for work that they are too small for."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poem_build.errors import PlanError
from poem_build.models.device import device_of
from poem_build.plan.memory import Need
from poem_build.recipe.schema import Recipe

GIGA = 1e9
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """Bytes that are there; `vram` None where there is no GPU."""

    vram: float | None
    ram: float
    disk: float
    gpus: int = 1
    """As large as the first."""
    cores: int = 1
    native: str = "bfloat16"
    """Number format that its GPU trains in, if the recipe has none."""

    def lacks(self, needs: Sequence[Need], disk: int) -> list[str]:
        """What does not fit, each in a few words."""
        have = {"gpu": self.vram or 0.0, "ram": self.ram}
        names = {"gpu": "GPU memory", "ram": "memory"}
        found = [
            f"{one.stage} takes {one.total / GIGA:.3g} GB of {names[one.place]}, {have[one.place] / GIGA:.3g} are there"
            for one in needs
            if one.total > have[one.place]
        ]
        if disk > self.disk:
            found.append(f"its files take {disk / GIGA:.3g} GB of disk, {self.disk / GIGA:.3g} are there")
        return found


def machine_here(out: Path, recipe: Recipe) -> Machine:
    """What is free on this machine, its GPU left out where the recipe runs on the processor, and where artifacts go."""
    vram = None if recipe.device == "cpu" else free_vram()
    here = recipe.model_copy(update={"train": None, "device": "auto"})  # whatever the recipe asks for
    native = Machine.native if vram is None else device_of(here).dtype
    return Machine(vram, free_memory(), free_disk(out), gpu_count(), os.cpu_count() or 1, native)


def free_memory() -> int:
    """Bytes that a process may still take: what the machine has free, or less where a container is allowed less."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text("ascii"))
        used = int((_CGROUP / "memory.current").read_text("ascii"))
        cached = dict(line.split() for line in (_CGROUP / "memory.stat").read_text("ascii").splitlines())
    except (OSError, ValueError):  # no container, or "max"
        return free
    return min(free, limit - used + int(cached.get("inactive_file", 0)))


def free_vram() -> int | None:
    """Bytes of the GPU's memory that are free; None where PyTorch has no GPU."""
    import torch

    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None


def gpu_count() -> int:
    """How many GPUs PyTorch has, at least one: to plan for."""
    import torch

    return max(1, int(torch.cuda.device_count()))


def free_disk(folder: Path) -> int:
    """Bytes that are free where the folder is, or will be."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Raise `PlanError` if the work needs more bytes of memory than are free."""
    if needed > (free := free_memory()):
        raise PlanError(f"{what}: needs {needed / GIGA:.1f} GB of memory, {free / GIGA:.1f} are free; {remedy}")


def check_disk(needed: int, what: str, folder: Path) -> None:
    """Raise `PlanError` if the work writes more bytes than are free at the folder."""
    if needed > (free := free_disk(folder)):
        raise PlanError(
            f"{what}: writes {needed / GIGA:.1f} GB to {folder}, {free / GIGA:.1f} are free there; free some, or give "
            "another --out"
        )
