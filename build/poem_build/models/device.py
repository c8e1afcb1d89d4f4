"""This machine → the device that models run on and the number format that they are trained in, with the reason.

Chosen in this one place, from what the hardware says of itself and not by a stopwatch: other work on the machine cannot
change it. The choice is part of the key of what is trained.
"""

import platform
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from poem_build.errors import DeviceError
from poem_build.recipe.schema import Recipe

Kind = Literal["cuda", "rocm", "mps", "cpu"]
GPU_NODES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""What drivers of NVIDIA, AMD and Windows' Linux put up: without any of them PyTorch need not be asked, which takes
seconds."""
_BF16 = (8, 0)
"""The compute capability (Ampere's) from which tensor cores take bfloat16; those before, from 7.0 on, float16 alone."""
_FP16 = (7, 0)
_FULL = ("out of memory", "can't allocate memory", "not enough memory")
"""As PyTorch says it of a GPU, of the machine, and of the machine again."""
_OLD_DRIVER = "driver on your system is too old"
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""
ASIDE = 2_000_000_000
"""Bytes of a GPU that are kept for CUDA, activations and the logits of an answer where a model is asked."""


class Hardware(NamedTuple):
    """What is known of a machine before anything runs on it."""

    gpu: Kind | None = None
    """A GPU that PyTorch can use."""
    name: str = ""
    capability: tuple[int, int] = (0, 0)
    """NVIDIA's."""
    bf16: bool = False
    """Whether the GPU says so of itself (AMD's)."""
    memory: int = 0
    """Bytes of the GPU's."""
    trouble: str = ""
    """Why a GPU that is there cannot be used."""
    cpu: str = "CPU"
    flags: frozenset[str] = frozenset()
    """Of the processor."""


class Device(BaseModel):
    """Where a model runs and in which number format it is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Kind
    name: str
    dtype: str
    reason: str

    @property
    def torch(self) -> str:
        """PyTorch's name of it; AMD's go by NVIDIA's."""
        return "cuda" if self.kind == "rocm" else self.kind


class Asked(NamedTuple):
    """Where a model runs that is asked and not trained."""

    device: str = "cpu"
    """PyTorch's name of it."""
    dtype: str = "float32"
    told: str = ""
    """What a summary says of it; empty where it is float32 on the device that the recipe runs on."""


PLAINLY = Asked()


def device_of(recipe: Recipe, hardware: Hardware | None = None) -> Device:
    """The recipe's choice, and what it leaves to be chosen. Raises `DeviceError` for a device that cannot be used."""
    there = look() if hardware is None else hardware
    kind, asked = there.gpu or "cpu", recipe.device
    if asked == "cpu":
        kind = "cpu"
    elif asked not in ("auto", kind):
        why = there.trouble or f"this machine has {'no GPU' if kind == 'cpu' else kind} that PyTorch can use"
        raise DeviceError(f"device {asked}: {why}; leave --device (GPU= of make) out for the processor")
    dtype, reason = _FORMATS[kind](there)
    if recipe.train and recipe.train.dtype != "auto":
        dtype, reason = recipe.train.dtype, "as the recipe has it"
    if kind == "cpu" and asked == "auto" and there.trouble:
        reason = f"{reason}; {there.trouble}"
    return Device(kind=kind, name=there.cpu if kind == "cpu" else there.name, dtype=dtype, reason=reason)


def asked_on(device: Device, parameters: int, free: float) -> Asked:
    """How a model of so many parameters is asked on a GPU with so many bytes free.

    In float32, whose rounding is below all that is measured, where there is room for it; else in the 16 bits that the
    device trains in; else by the processor.
    """
    for dtype in ("float32", device.dtype):
        if WIDTHS[dtype] * parameters + ASIDE <= free:
            return Asked(device.torch, dtype, "" if dtype == "float32" else f"{dtype} on {device.name}")
    return Asked(told=f"float32 on the processor; {device.name} has no room")


def key_of(recipe: Recipe) -> dict[str, Any]:
    """What a trained model follows from of the machine that it is trained on."""
    chosen = device_of(recipe)
    return {"device": {"kind": chosen.kind, "dtype": chosen.dtype}}


def gpu_layers() -> int:
    """How many layers llama.cpp puts on the GPU: all (-1) where it was built for one that is there, else none."""
    import llama_cpp

    return -1 if look().gpu and llama_cpp.llama_supports_gpu_offload() else 0


@cache
def look() -> Hardware:
    """This machine."""
    cpu, flags = _processor()
    found = Hardware(cpu=cpu, flags=flags)
    if platform.system() == "Linux" and not any(Path(node).exists() for node in GPU_NODES):
        return found
    import torch

    if torch.cuda.is_available():
        shown = torch.cuda.get_device_properties(0)
        rocm = torch.version.hip is not None
        return found._replace(
            gpu="rocm" if rocm else "cuda",
            name=shown.name,
            capability=(shown.major, shown.minor),
            bf16=torch.cuda.is_bf16_supported(including_emulation=False),
            memory=shown.total_memory,
        )
    if torch.backends.mps.is_available():
        return found._replace(gpu="mps", name=f"Apple {platform.machine()}")
    return found._replace(trouble=trouble(torch.version.cuda, torch.version.hip, torch.cuda.init))


def trouble(cuda: str | None, hip: str | None, begin: Callable[[], None]) -> str:
    """Why the PyTorch that was built for that CUDA or ROCm does not reach a GPU whose driver is there."""
    if not (cuda or hip):
        return "a GPU is there, but this PyTorch is for the processor alone; install the one for CUDA or ROCm"
    try:
        begin()
    except (RuntimeError, AssertionError) as error:
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        if _OLD_DRIVER in told:
            return f"the NVIDIA driver is too old for CUDA {cuda}; install a newer one"
        return f"CUDA cannot be used ({told}); `nvidia-smi` shows what the driver sees"
    return "PyTorch sees no GPU; `nvidia-smi` or `rocminfo` shows what the driver sees"


def _processor() -> tuple[str, frozenset[str]]:
    """Its name, and its flags as the system tells them; none where it tells none."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    told = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields: Mapping[str, str] = {name.strip(): value.strip() for name, value in told.items()}
    return fields.get("model name", platform.machine()), frozenset(fields.get("flags", "").split())


def _cuda(hardware: Hardware) -> tuple[str, str]:
    version = ".".join(map(str, hardware.capability))
    if hardware.capability >= _BF16:
        return "bfloat16", f"compute capability {version} has tensor cores for it"
    if hardware.capability >= _FP16:
        return "float16", f"compute capability {version} has tensor cores for it and none for bfloat16"
    return "float32", f"compute capability {version} has no tensor cores"


def _rocm(hardware: Hardware) -> tuple[str, str]:
    return ("bfloat16", "the GPU has it") if hardware.bf16 else ("float16", "the GPU has no bfloat16")


def _mps(_: Hardware) -> tuple[str, str]:
    return "float32", "Apple's GPUs reckon it as fast as 16 bits"


def _cpu(hardware: Hardware) -> tuple[str, str]:
    for flag in ("amx_bf16", "avx512_bf16"):
        if flag in hardware.flags:
            return "bfloat16", f"the processor has {flag}"
    return "float32", "the processor has no instructions for bfloat16"


_FORMATS: Mapping[Kind, Callable[[Hardware], tuple[str, str]]] = {
    **{"cuda": _cuda, "rocm": _rocm, "mps": _mps, "cpu": _cpu},
}


def ran_out(told: str) -> bool:
    """Whether an error's words are that memory ran out."""
    return any(sign in told.lower() for sign in _FULL)
