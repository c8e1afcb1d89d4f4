"""A training → the same in several processes, one a GPU, by `accelerate launch` with the files of build/accelerate/."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from poem_build.errors import DeviceError
from poem_build.models.device import Device, ran_out
from poem_build.models.family import family
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
    spec: dict[str, Any]
    """All of `Train`, which by itself leaves out what is no part of a key."""
    device: Device
    target: Path
    room: Path
    processes: int
    train: list[tuple[list[int], list[int]]]
    valid: list[tuple[list[int], list[int]]]

    @classmethod
    def of(cls, setup: Setup, train: Sequence[Tokens], valid: Sequence[Tokens], processes: int) -> "Work":
        """The same for so many processes."""
        return cls(
            base=setup.base,
            family=setup.family.name,
            spec=dict(setup.spec),
            device=setup.device,
            target=setup.target,
            room=setup.room,
            processes=processes,
            train=[(list(tokens.prompt), list(tokens.answer)) for tokens in train],
            valid=[(list(tokens.prompt), list(tokens.answer)) for tokens in valid],
        )

    @property
    def setup(self) -> Setup:
        """What each of them is told."""
        spec = Train.model_validate(self.spec)
        return Setup(self.base, family(self.family), spec, self.device, self.target, self.room, self.processes)

    @property
    def examples(self) -> tuple[list[Tokens], list[Tokens]]:
        """Those to learn from and those to look at."""
        train, valid = (
            [Tokens(tuple(prompt), tuple(answer)) for prompt, answer in rows] for rows in (self.train, self.valid)
        )
        return train, valid


def train(setup: Setup, train: Sequence[Tokens], valid: Sequence[Tokens]) -> Trained:
    """Train in as many processes as there are GPUs.

    Raises `DeviceError` where so many cannot share a step, and what `failure` makes of one that failed.
    """
    spec, count = setup.spec, processes(setup.device)
    if spec.method == "dpo":
        micro_batches(spec, count)
    setup.room.mkdir(parents=True, exist_ok=True)
    told = setup.room / "work.json"
    told.write_text(Work.of(setup, train, valid, count).model_dump_json(), "utf-8")
    (setup.room / TRAINED).unlink(missing_ok=True)
    status, said = _run(command(spec, setup.device, count, told))
    if status or not (setup.room / TRAINED).is_file():
        raise failure(spec, status, said)
    return Trained.model_validate_json((setup.room / TRAINED).read_text("utf-8"))


def _run(launcher: Sequence[str]) -> tuple[int, str]:
    """The launcher's status and what was said on standard error; whatever ends this process ends it and its workers."""
    with subprocess.Popen(
        launcher,
        stdin=subprocess.PIPE,  # closed when this process ends, however it does: the workers wait for that
        stderr=subprocess.PIPE,
        stdout=sys.stderr,
        text=True,
        env={**os.environ, "ACCELERATE_LOG_LEVEL": "ERROR"},
    ) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.read()
        except BaseException:
            process.terminate()  # it ends its workers, and is waited for
            raise
    return process.returncode, said


def micro_batches(spec: Train, count: int) -> tuple[int, int]:
    """How many examples each of so many processes has in memory at once, and how often a step, all steps being alike.

    Raises `DeviceError` where that does not come to the batch.
    """
    share, left = divmod(spec.batch, count)
    size = min(share, spec.micro_batch or share)
    if left or share % size:
        parts = f" in micro batches of {spec.micro_batch}" if spec.micro_batch else ""
        raise DeviceError(
            f"train.batch: {spec.method}'s {spec.batch} examples cannot be shared by {count} processes{parts}; "
            f"give a multiple of {count * (spec.micro_batch or 1)}"
        )
    return size, share // size


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
    if spec.unmoved and device.kind != "cpu":
        raise DeviceError(spec.unmoved)


def processes(device: Device) -> int:
    """As many as there are GPUs."""
    if device.kind == "cpu":
        return _ON_CPU
    import torch

    return int(torch.cuda.device_count())
