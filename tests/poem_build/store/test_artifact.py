import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from poem_build.errors import ArtifactError
from poem_build.store import artifact


def _write(text: str) -> Any:
    def work(folder: Path) -> Mapping[str, Any]:
        (folder / "sub").mkdir()
        (folder / "sub" / "file.txt").write_text(text, "utf-8")
        return {"length": len(text)}

    return work


def _never(folder: Path) -> Mapping[str, Any]:
    raise AssertionError("made again")


def test_what_has_not_changed_is_kept(tmp_path: Path) -> None:
    made = artifact.make(tmp_path, "s", _write("a"), settings={"n": 1}, inputs={"x": "1"})
    kept = artifact.make(tmp_path, "s", _never, settings={"n": 1}, inputs={"x": "1"})
    assert (made.reused, kept.reused) == (False, True)
    assert (kept.digest, kept.figures) == (made.digest, {"length": 1})
    assert json.loads((tmp_path / "s" / "artifact.json").read_text("utf-8"))["inputs"] == {"x": "1"}


@pytest.mark.parametrize("change", [{"settings": {"n": 2}}, {"inputs": {"x": "2"}}])
def test_another_setting_or_input_makes_it_again(tmp_path: Path, change: dict[str, Any]) -> None:
    told: dict[str, Any] = {"settings": {"n": 1}, "inputs": {"x": "1"}}
    artifact.make(tmp_path, "s", _write("a"), **told)
    assert not artifact.make(tmp_path, "s", _write("b"), **(told | change)).reused
    assert (tmp_path / "s" / "sub" / "file.txt").read_text("utf-8") == "b"


@pytest.mark.parametrize("damage", ["remove", "change", "manifest"])
def test_a_damaged_folder_is_made_again(tmp_path: Path, damage: str) -> None:
    artifact.make(tmp_path, "s", _write("a"), settings={}, inputs={})
    file = tmp_path / "s" / "sub" / "file.txt"
    if damage == "remove":
        file.unlink()
    elif damage == "change":
        file.write_text("b", "utf-8")
    else:
        (tmp_path / "s" / "artifact.json").write_text('{"stage":', "utf-8")
    with pytest.raises(ArtifactError, match="not there or unfinished"):
        artifact.load(tmp_path, "s")
    assert not artifact.make(tmp_path, "s", _write("a"), settings={}, inputs={}).reused


def test_work_that_fails_leaves_the_former_one_and_nothing_else(tmp_path: Path) -> None:
    artifact.make(tmp_path, "s", _write("a"), settings={}, inputs={})

    def fails(folder: Path) -> Mapping[str, Any]:
        (folder / "half").write_text("x", "utf-8")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        artifact.make(tmp_path, "s", fails, settings={"n": 2}, inputs={})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "s"]
    assert artifact.load(tmp_path, "s").figures == {"length": 1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode or os.geteuid():
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_nothing_behind(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        artifact.make(small_disk, "s", _write("x" * 200_000), settings={}, inputs={})
    assert [path.name for path in small_disk.iterdir()] == [".lock"]


def test_two_at_once_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    def second(folder: Path) -> Mapping[str, Any]:
        with pytest.raises(ArtifactError, match="another poem-build is at work there; wait for it before s"):
            artifact.make(tmp_path, "s", _never, settings={}, inputs={})
        return {}

    artifact.make(tmp_path, "s", second, settings={}, inputs={})


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".s.unfinished-dead").mkdir()
    artifact.make(tmp_path, "s", _write("a"), settings={}, inputs={})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "s"]


def test_checkpoints_are_found_by_the_same_work_alone_and_go_when_it_is_whole(tmp_path: Path) -> None:
    told: dict[str, Any] = {"settings": {"n": 1}, "inputs": {"x": "1"}}
    kept = artifact.checkpoint_folder(tmp_path, "s", **told)
    assert artifact.checkpoint_folder(tmp_path, "s", **told) == kept
    others = [
        artifact.checkpoint_folder(tmp_path, stage, **(told | change))
        for stage, change in (("s", {"settings": {"n": 2}}), ("s", {"inputs": {"x": "2"}}), ("s-2", {}))
    ]
    assert len({kept, *others}) == 4
    for folder in (kept, *others):
        folder.mkdir()
        (folder / "step").write_text("state", "utf-8")

    def killed(folder: Path) -> Mapping[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifact.make(tmp_path, "s", killed, **told)
    assert all((folder / "step").is_file() for folder in (kept, *others))
    artifact.make(tmp_path, "s", _write("a"), **told)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", others[2].name, "s"]


def test_a_text_is_written_whole_or_not_at_all(small_disk: Path) -> None:
    artifact.write_text(small_disk / "a.md", "short")
    with pytest.raises(OSError, match="No space left"):
        artifact.write_text(small_disk / "a.md", "x" * 200_000)
    assert [(path.name, path.read_text("utf-8")) for path in small_disk.iterdir()] == [("a.md", "short")]
