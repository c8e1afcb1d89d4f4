"""A training → the same in several processes, one a GPU, by `accelerate launch` with the files of build/accelerate/."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from poem_build.errors import DeviceError
from poem_build.models.device import Device, ran_out
from poem_build.models.tokens import Tokens
from poem_build.recipe.training import Train
from poem_build.train.protocol import Setup, Trained

CONFIGS = Path(__file__).resolve().parents[2] / "accelerate"
TRAINED = "trained.json"
_ON_CPU = 2
"""Processes where there is no GPU: to try it."""


class Work(BaseModel):
    """What the processes are told, as a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    base: Path
    family: str
    spec: Train
    preferences: Path | None
    checkpoint_s: float
    device: Device
    target: Path
    room: Path
    train: list[tuple[list[int], list[int]]]
    valid: list[tuple[list[int], list[int]]]


def train(setup: Setup, train: Sequence[Tokens], valid: Sequence[Tokens]) -> Trained:
    """Train in as many processes as there are GPUs. Raises what `failure` makes of one that failed."""
    setup.room.mkdir(parents=True, exist_ok=True)
    spec = setup.spec
    work = Work(
        base=setup.base,
        family=setup.family.name,
        spec=spec,
        preferences=spec.preferences,
        checkpoint_s=spec.checkpoint_s,
        device=setup.device,
        target=setup.target,
        room=setup.room,
        train=[(list(tokens.prompt), list(tokens.answer)) for tokens in train],
        valid=[(list(tokens.prompt), list(tokens.answer)) for tokens in valid],
    )
    told = setup.room / "work.json"
    told.write_text(json.dumps(work.model_dump(mode="json")), "utf-8")
    (setup.room / TRAINED).unlink(missing_ok=True)
    done = subprocess.run(
        command(spec, setup.device, processes(setup.device), told),
        stderr=subprocess.PIPE,
        stdout=sys.stderr,
        text=True,
        check=False,
        env={**os.environ, "ACCELERATE_LOG_LEVEL": "ERROR"},
    )
    if done.returncode or not (setup.room / TRAINED).is_file():
        raise failure(spec, done.returncode, done.stderr)
    return Trained.model_validate_json((setup.room / TRAINED).read_text("utf-8"))


def failure(spec: Train, status: int, told: str) -> DeviceError | MemoryError:
    """What processes that ended with the status and told so much on standard error came to."""
    lines = told.splitlines()
    errors = [line.strip() for line in lines if "Error" in line] or [*lines, "no word"]
    if full := next(filter(ran_out, errors), ""):
        return MemoryError(full)
    return DeviceError(f"train.launch: {spec.launch} ended with status {status}: {errors[0].strip()}")


def command(spec: Train, device: Device, count: int, told: Path) -> list[str]:
    """`accelerate launch` of the worker. Raises `DeviceError` where what it needs is not there."""
    found = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{spec.launch}.yaml")]
    found += ["--num_processes", str(count), "--main_process_port", "0"]
    if spec.launch != "ddp":
        if device.kind == "cpu":
            raise DeviceError(f'train.launch: {spec.launch} needs GPUs, this is cpu; give launch = "single"')
        offload = "" if spec.offload == "none" else f"-{spec.offload}"
        found += ["--deepspeed_config_file", str(CONFIGS / f"{spec.launch}{offload}.json")]
    return [*found, "-m", "poem_build.train.worker", str(told)]


def check_offload(spec: Train, device: Device) -> None:
    """Raise `DeviceError` for layers that nothing would move."""
    if spec.offload == "layers" and spec.launch != "zero3" and device.kind != "cpu":
        raise DeviceError(
            'train.offload: layers are moved by DeepSpeed alone; give launch = "zero3", or offload = "optimizer"'
        )


def processes(device: Device) -> int:
    """As many as there are GPUs."""
    if device.kind == "cpu":
        return _ON_CPU
    import torch

    return int(torch.cuda.device_count())
