"""The digest of the code that a stage runs, on a copy of our packages that is changed and asked again."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poem_build.store.artifact import Artifact
from poem_build.store.code import code_digests
from support.process import ROOT

Why = Callable[[], dict[str, str]]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for folder in ("game", "build"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "modelfiles").symlink_to(ROOT / "modelfiles")
    return tree


@pytest.fixture
def why(tree: Path, chain: dict[str, Artifact], out: Path, recipe_file: Path) -> Why:
    """What `run --why` of the copy says of the finished chain, by stage."""
    command = [sys.executable, "-c", "from poem_build.cli.main import main; main()", "run", "--why"]
    command += ["--recipe", str(recipe_file), "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": f"{tree / 'game'}:{tree / 'build'}"}

    def ask() -> dict[str, str]:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return dict(line.split(": ", 1) for line in done.stdout.splitlines())

    return ask


def _append(tree: Path, module: str, text: str) -> Callable[[], object]:
    path = tree / "build" / "poem_build" / module
    before = path.read_text("utf-8")
    path.write_text(before + text, "utf-8")
    return lambda: path.write_text(before, "utf-8")


@pytest.mark.parametrize(
    ("module", "stage"),
    [("train/fit.py", "train"), ("export/convert.py", "convert"), ("data/hands.py", "dataset")],
)
def test_nonsense_in_the_code_is_not_passed_over(why: Why, tree: Path, module: str, stage: str) -> None:
    undo = _append(tree, module, "\n\nNONSENSE = 1 / 3\n")
    told = why()
    undo()
    name = f"poem_build.{module.removesuffix('.py').replace('/', '.')}"
    order = list(told)
    assert told[stage] == f"code changed: {name}"
    assert {told[before] for before in order[: order.index(stage)]} <= {"kept"}
    assert told["verify"] == f"{stage} has to be made first (code changed: {name})"


def test_comments_docstrings_and_what_only_carries_work_about_change_nothing(why: Why, tree: Path) -> None:
    undo = [_append(tree, "train/fit.py", '\n\n# a comment\n"""A text that stands alone."""\n')]
    undo += [_append(tree, name, "\n\nNONSENSE = 1\n") for name in ("errors.py", "store/workshop.py", "cli/main.py")]
    told = why()
    for one in undo:
        one()
    assert set(told.values()) == {"kept"}


def test_the_composer_is_no_part_of_a_training_and_the_loop_none_of_a_data_set() -> None:
    train, dataset = (set(code_digests(f"poem_build.{name}")) for name in ("train.lora", "data.dataset"))
    assert "poem_build.train.fit" in train - dataset
    assert {"poem.composer", "poem.rules", "poem.store", "poem_build.teacher.composer"} <= dataset - train


def test_what_only_reckons_whether_there_is_room_is_no_part_of_a_result() -> None:
    for stage in ("train.adapter", "export.merge"):
        assert not [name for name in code_digests(f"poem_build.{stage}") if name.startswith("poem_build.plan")]
