"""The training stage as a process that is killed: what it leaves, and what it ends with."""

import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest

from poem_build.recipe.schema import load_recipe
from poem_build.store.artifact import Artifact
from poem_build.train import curve
from poem_build.train.adapter import TrainReport
from support.chain import workshop_of
from support.postgres import eventually

COMMAND = [sys.executable, "-c", "from poem_build.cli.main import main; main()", "train"]
RUN = {"epochs = 1\nbatch = 8": "epochs = 3\nbatch = 4\nevaluate_every = 4\nlora_dropout = 0.1\ncheckpoint_s = 0"}


@pytest.fixture(scope="module")
def longer(recipe_file: Path) -> Path:
    """The recipe with more steps, dropout, and a checkpoint after each step."""
    text = recipe_file.read_text("utf-8")
    for old, new in RUN.items():
        assert old in text
        text = text.replace(old, new)
    path = recipe_file.with_name("longer.toml")
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def whole(out: Path, longer: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The adapter of a training that nothing interrupted."""
    return _train(longer, _beginning(out, tmp_path_factory.mktemp("whole")))


def _beginning(out: Path, folder: Path) -> Path:
    shutil.copytree(out / "dataset", folder / "dataset")
    return folder


def _train(recipe: Path, folder: Path) -> Artifact:
    """The training, in this process and to its end."""
    return workshop_of(load_recipe(str(recipe)), folder).make("train")


def _ended(recipe: Path, folder: Path) -> Artifact:
    return workshop_of(load_recipe(str(recipe)), folder).load("adapter")


def _kill(longer: Path, folder: Path, when: Callable[[], bool]) -> bool:
    """Start the training and kill it once `when` holds; False if it came to its end before."""
    process = subprocess.Popen([*COMMAND, "--recipe", longer, "--out", folder], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        while process.poll() is None and not when():
            time.sleep(0.001)
        process.kill()
        assert process.wait() in {0, -9}, process.stderr.read()
    return process.returncode != 0


def _checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".adapter.room-*/seal-*"))


def _same(recipe: Path, folder: Path, whole: Artifact) -> TrainReport:
    ended = _ended(recipe, folder)
    report, expected = ended.report(TrainReport), whole.report(TrainReport)
    assert ended.files == whole.files
    assert (report.valid_curve, report.train_loss) == (expected.valid_curve, expected.train_loss)
    names = {path.name for path in folder.iterdir()} - {".digests.json"}
    assert names == {".lock", "adapter", "dataset", "game.json"}
    return report


def test_killed_it_ends_with_the_same_adapter(out: Path, longer: Path, whole: Artifact, tmp_path: Path) -> None:
    """When the learning rate falls."""
    folder = _beginning(out, tmp_path)
    assert _kill(longer, folder, lambda: "seal-7.json" in _checkpoints(folder))
    assert "seal-7.json" in _checkpoints(folder)
    assert not (folder / "adapter").exists()
    _train(longer, folder)
    assert (_same(longer, folder, whole).steps.resumed_at or 0) >= 7


def test_the_adapter_comes_with_a_picture_of_its_losses(whole: Artifact) -> None:
    assert curve.FILE in whole.files
    header = (whole.path / curve.FILE).read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (960, 540)


@pytest.mark.long
def test_killed_at_any_moment_it_ends_with_the_same_adapter(
    out: Path, longer: Path, whole: Artifact, tmp_path: Path
) -> None:
    folder, rng, kills = _beginning(out, tmp_path), Random(4), 0
    while _kill(longer, folder, _a_while_after_the_next_step(folder, rng.uniform(0, 0.4))):
        kills += 1
    assert kills > 3
    _same(longer, folder, whole)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_it_leaves_none_of_the_processes_that_train_together(
    out: Path, longer: Path, tmp_path: Path, number: signal.Signals
) -> None:
    shared, folder = longer.with_name("shared.toml"), _beginning(out, tmp_path)
    shared.write_text(longer.read_text("utf-8").replace("epochs = 3", 'epochs = 1000\nlaunch = "ddp"'), "utf-8")
    process = psutil.Popen([*COMMAND, "--recipe", shared, "--out", folder], stderr=subprocess.DEVNULL)
    started: list[psutil.Process] = []
    try:
        eventually(lambda: _checkpoints(folder), 180)
        started += process.children(recursive=True)
        assert len(started) >= 3  # accelerate's launcher, and two
        process.send_signal(number)
        assert process.wait() == (128 + number if number == signal.SIGTERM else -number)
        eventually(lambda: not any(map(_lives, started)))
    finally:
        for one in (process, *started):
            with suppress(psutil.NoSuchProcess):
                one.kill()


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _a_while_after_the_next_step(folder: Path, seconds: float) -> Callable[[], bool]:
    before, seen = _checkpoints(folder)[-1:], math.inf

    def when() -> bool:
        nonlocal seen
        if _checkpoints(folder)[-1:] != before:
            seen = min(seen, time.monotonic())
        return time.monotonic() - seen > seconds

    return when
