"""What a stage leaves, when it is kept, and why it is not."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from poem.game import Game, builtin_game
from poem_build.errors import ArtifactError, GateError
from poem_build.recipe.schema import Recipe, load_recipe
from poem_build.store.artifact import Report
from poem_build.store.folder import write_text
from poem_build.store.stage import ALL, Finished, Job, Stage, sections
from poem_build.store.workshop import Workshop

RECIPE = load_recipe("tiny")


class Length(Report):
    length: int


def first_work(job: Job) -> Length:
    text = f"r {job.recipe.training.r}"
    (job.folder / "sub").mkdir()
    (job.folder / "sub" / "file.txt").write_text(text, "utf-8")
    return Length(length=len(text))


def second_work(job: Job) -> Length:
    return Length(length=len(job.path("first", "sub/file.txt").read_text("utf-8")))


FIRST = Stage("one", "Write.", "first", first_work, Length, settings=sections("train"))
SECOND = Stage("two", "Read.", "second", second_work, Length, settings=sections("serve"), inputs={"first": ALL})


def never(job: Job) -> Length:
    raise AssertionError("made again")


def _workshop(out: Path, *stages: Stage, recipe: Recipe = RECIPE, game: Game | None = None) -> Workshop:
    return Workshop(recipe, game or builtin_game(), out, stages or (FIRST, SECOND))


def _with(section: str, **change: Any) -> Recipe:
    return RECIPE.model_copy(update={section: getattr(RECIPE, section).model_copy(update=change)})


def _edit(manifest: Path, **change: Any) -> None:
    manifest.write_text(json.dumps(json.loads(manifest.read_text("utf-8")) | change), "utf-8")


def test_what_has_not_changed_is_kept(tmp_path: Path) -> None:
    made = _workshop(tmp_path).make("one")
    kept = _workshop(tmp_path).make("one")
    assert (made.reused, made.reason, kept.reused, kept.reason) == (False, "not made yet", True, "")
    assert (kept.digest(), kept.report(Length)) == (made.digest(), Length(length=4))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "first", "game.json"]


def test_what_a_recipe_does_not_say_to_it_does_not_concern_a_stage(tmp_path: Path) -> None:
    _workshop(tmp_path).make("one")
    assert _workshop(tmp_path, recipe=_with("serve", temperature=0.1)).make("one").reused
    assert _workshop(tmp_path, recipe=_with("train", checkpoint_s=1.0)).make("one").reused


def test_a_setting_makes_it_again_and_is_told_beforehand_and_after(tmp_path: Path) -> None:
    _workshop(tmp_path).make("one")
    changed = _workshop(tmp_path, recipe=_with("train", r=16, seed=9))
    told = "train.r was 32, is 16; train.seed was 3, is 9"
    assert changed.look("one").reason == told
    assert changed.look("two").reason == f"one has to be made first ({told})"
    made = changed.make("one")
    assert (made.reused, made.reason) == (False, told)
    assert (tmp_path / "first" / "sub" / "file.txt").read_text("utf-8") == "r 16"


def test_the_section_of_a_stage_s_own_name_goes_without_saying(tmp_path: Path) -> None:
    stage = replace(FIRST, name="train")
    _workshop(tmp_path, stage).make("train")
    assert _workshop(tmp_path, stage, recipe=_with("train", r=16)).look("train").reason == "r was 32, is 16"


def test_a_stage_alone_refuses_what_the_recipe_has_left_behind_by_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _workshop(tmp_path).make(name)
    changed = _workshop(tmp_path, recipe=_with("train", r=16))
    with pytest.raises(ArtifactError) as refused:
        changed.make("two")
    assert str(refused.value) == f"{tmp_path}/first: one: train.r was 32, is 16; `poem-build run` makes it"


def test_equal_content_is_the_same_input_whoever_made_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _workshop(tmp_path).make(name)
    again = _workshop(tmp_path, recipe=_with("train", seed=9))
    assert not again.make("one").reused
    assert again.make("two").reused


def test_an_input_counts_by_the_files_that_are_read_of_it(tmp_path: Path) -> None:
    def two_files(job: Job) -> Length:
        (job.folder / "read.txt").write_text("same", "utf-8")
        (job.folder / "other.txt").write_text(f"r {job.recipe.training.r}", "utf-8")
        return Length(length=0)

    stages = replace(FIRST, work=two_files), replace(SECOND, work=lambda _: Length(length=1), inputs={"first": ("r*",)})
    for name in ("one", "two"):
        _workshop(tmp_path, *stages).make(name)
    again = _workshop(tmp_path, *stages, recipe=_with("train", r=16))
    again.make("one")
    assert again.make("two").reused


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("remove", "sub/file.txt is missing or was changed"),
        ("change", "sub/file.txt is missing or was changed"),
        ("cut", "artifact.json is of another version or damaged"),
        ("no text", "artifact.json is of another version or damaged (JSON: Invalid JSON: "),
        ("unknown key", "artifact.json is of another version or damaged (surprise: Extra inputs are not permitted)"),
        ("other report", "its report is of another version"),
        ("no manifest", "unfinished"),
    ],
)
def test_what_is_damaged_or_of_another_version_is_made_again_with_the_reason(
    tmp_path: Path, damage: str, reason: str
) -> None:
    _workshop(tmp_path).make("one")
    file, manifest = tmp_path / "first" / "sub" / "file.txt", tmp_path / "first" / "artifact.json"
    match damage:
        case "remove":
            file.unlink()
        case "change":
            file.write_text("r 23", "utf-8")
        case "cut":
            manifest.write_text('{"stage":', "utf-8")
        case "no text":
            manifest.write_bytes(b"\xff")
        case "unknown key":
            _edit(manifest, surprise=1)
        case "other report":
            _edit(manifest, report={"width": 4})
        case "no manifest":
            manifest.unlink()
    with pytest.raises(ArtifactError, match="`poem-build run` makes it"):
        _workshop(tmp_path).load("first")
    made = _workshop(tmp_path).make("one")
    assert not made.reused
    assert made.reason.startswith(reason)
    former = [path.name for path in tmp_path.glob(".former/*")]
    assert len(former) == (damage in {"cut", "no text", "unknown key"})  # nobody can say how long that had taken


def test_later_stages_name_the_one_that_is_damaged_whatever_its_reason_looks_like(tmp_path: Path) -> None:
    third = Stage("three", "Read.", "third", never, Length, inputs={"second": ALL})
    for name in ("one", "two"):
        _workshop(tmp_path).make(name)
    (tmp_path / "first" / "artifact.json").write_text("{", "utf-8")
    workshop = _workshop(tmp_path, FIRST, SECOND, third)
    told = workshop.look("one").reason
    assert told.endswith(")")
    assert [workshop.look(name).reason for name in ("two", "three")] == [f"one has to be made first ({told})"] * 2


def test_an_artifact_of_before_is_set_aside_and_not_read(tmp_path: Path) -> None:
    """The format of the commit before this store: no `key`, but `settings`, `inputs` and `figures`."""
    (tmp_path / "first").mkdir()
    old = {"stage": "first", "key": "0", "settings": {}, "inputs": {}, "files": {}, "figures": {}, "seconds": 5520.0}
    (tmp_path / "first" / "artifact.json").write_text(json.dumps(old), "utf-8")
    made = _workshop(tmp_path).make("one")
    assert made.reason.startswith("artifact.json is of another version or damaged (")
    (kept,) = (tmp_path / ".former").iterdir()
    assert json.loads((kept / "artifact.json").read_text("utf-8")) == old


def test_a_long_work_s_result_stays_until_its_successor_is_whole_and_is_found_again(tmp_path: Path) -> None:
    _workshop(tmp_path).make("one")
    _edit(tmp_path / "first" / "artifact.json", seconds=61.0)

    def fails(job: Job) -> Length:
        assert (tmp_path / "first" / "artifact.json").is_file()
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        _workshop(tmp_path, replace(FIRST, work=fails), recipe=_with("train", r=16)).make("one")
    assert _workshop(tmp_path).make("one").reused
    _workshop(tmp_path, recipe=_with("train", r=16)).make("one")
    back = _workshop(tmp_path).make("one")
    assert (back.reused, back.seconds, back.reason) == (True, 61.0, "a former result fits again")
    assert (tmp_path / "first" / "sub" / "file.txt").read_text("utf-8") == "r 32"


def test_what_comes_before_the_work_comes_where_there_is_work_alone(tmp_path: Path) -> None:
    asked: list[Path] = []

    def before(room: Path) -> None:
        asked.append(room)
        room.mkdir()
        (room / "found").write_text("before", "utf-8")

    def finds(job: Job) -> Length:
        return Length(length=len((job.room / "found").read_text("utf-8")))

    def refuses(room: Path) -> None:
        raise ValueError("too small")

    stage = replace(FIRST, work=finds)
    assert _workshop(tmp_path, stage).make("one", before).report(Length).length == 6
    assert _workshop(tmp_path, stage).make("one", refuses).reused
    with pytest.raises(ValueError, match="too small"):
        _workshop(tmp_path, stage, recipe=_with("train", r=16)).make("one", refuses)
    assert _workshop(tmp_path, stage).make("one", refuses).reused
    _edit(tmp_path / "first" / "artifact.json", seconds=61.0)
    _workshop(tmp_path, stage, recipe=_with("train", r=16)).make("one", before)
    assert _workshop(tmp_path, stage).make("one", refuses).reason == "a former result fits again"
    assert len(asked) == 2
    assert not any(room.exists() for room in asked)


def test_gc_removes_former_results_and_rooms_that_nobody_finds(tmp_path: Path) -> None:
    def killed(job: Job) -> Length:
        job.room.mkdir(parents=True)
        (job.room / "step").write_text("state", "utf-8")
        raise KeyboardInterrupt

    stage = replace(FIRST, work=killed)
    for recipe in (RECIPE, _with("train", r=16)):
        with pytest.raises(KeyboardInterrupt):
            _workshop(tmp_path, stage, recipe=recipe).make("one")
    (tmp_path / ".former" / "first-0").mkdir(parents=True)
    (tmp_path / ".former" / "first-0" / "file").write_bytes(b"x" * 1000)
    assert len(list(tmp_path.glob(".first.room-*"))) == 2
    assert _workshop(tmp_path, stage).collect() == (2, 1005)
    (room,) = tmp_path.glob(".first.room-*")
    assert list(tmp_path.glob(".former/*")) == []

    def resumed(job: Job) -> Length:
        assert job.room == room
        return Length(length=len((job.room / "step").read_text("utf-8")))

    # Another function of the same module: the same code as far as a key can tell.
    assert _workshop(tmp_path, replace(stage, work=resumed)).make("one").report(Length).length == 5
    assert not room.exists()


def test_work_that_fails_leaves_the_former_one_and_nothing_else(tmp_path: Path) -> None:
    _workshop(tmp_path).make("one")

    def fails(job: Job) -> Length:
        (job.folder / "half").write_text("x", "utf-8")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        _workshop(tmp_path, replace(FIRST, work=fails), recipe=_with("train", r=16)).make("one")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "first", "game.json"]
    assert _workshop(tmp_path).load("first").report(Length) == Length(length=4)


def test_what_a_gate_refuses_is_kept_and_refused_again_without_the_work(tmp_path: Path) -> None:
    def gate(finished: Finished) -> None:
        if finished.artifact.report(Length).length < 5:
            raise GateError(f"too short: {finished.artifact.report(Length).length}")

    with pytest.raises(GateError, match="too short: 4"):
        _workshop(tmp_path, replace(FIRST, gate=gate), SECOND).make("one")
    refusing = _workshop(tmp_path, replace(FIRST, gate=gate, work=never), SECOND)
    for name in ("one", "two"):
        with pytest.raises(GateError, match="too short: 4"):
            refusing.make(name)


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
    def large(job: Job) -> Length:
        (job.folder / "large").write_bytes(b"x" * 200_000)
        return Length(length=0)

    with pytest.raises(OSError, match="No space left"):
        _workshop(small_disk, replace(FIRST, work=large)).make("one")
    assert sorted(path.name for path in small_disk.iterdir()) == [".lock", "game.json"]


def test_two_at_once_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    def second(job: Job) -> Length:
        with pytest.raises(ArtifactError, match="another poem-build is at work there; wait for it before one"):
            _workshop(tmp_path, replace(FIRST, work=never)).make("one")
        return Length(length=0)

    _workshop(tmp_path, replace(FIRST, work=second)).make("one")


def test_what_another_process_made_meanwhile_is_taken(tmp_path: Path) -> None:
    """It looked, found nothing, and the other one was quicker to the lock."""
    late = _workshop(tmp_path, replace(FIRST, work=never))
    assert late.look("one").reason == "not made yet"
    made = _workshop(tmp_path).make("one")
    taken = late._make(late.stages["one"], {})
    assert (taken.reused, taken.digest()) == (True, made.digest())


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".first.unfinished-dead").mkdir()
    _workshop(tmp_path).make("one")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "first", "game.json"]


def test_a_folder_of_another_game_is_refused(tmp_path: Path) -> None:
    _workshop(tmp_path).make("one")
    with pytest.raises(ArtifactError) as refused:
        _workshop(tmp_path, game=replace(builtin_game(), name="ours"))
    assert str(refused.value) == f"{tmp_path}: holds the work for the built-in game, not ours; give another --out"


def test_a_given_folder_that_holds_nothing_is_named_with_what_was_to_be_in_it(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    workshop = _workshop(tmp_path / "out", replace(FIRST, given=lambda _: given), SECOND)
    for name in ("one", "two"):
        with pytest.raises(ArtifactError) as refused:
            workshop.make(name)
        told = "no first there, or `poem-build one` has not made it; give a folder with one"
        assert str(refused.value) == f"{given}: one: {told}"


def test_another_game_of_the_name_makes_again_what_reads_it(tmp_path: Path) -> None:
    reader = replace(FIRST, reads_game=True)
    _workshop(tmp_path, reader).make("one")
    assert _workshop(tmp_path, reader, game=replace(builtin_game(), digest="0")).look("one").reason == "game changed"


def test_adopting_keeps_a_result_after_a_change_of_code_and_says_so(tmp_path: Path) -> None:
    _workshop(tmp_path).make("one")
    manifest = tmp_path / "first" / "artifact.json"
    key = json.loads(manifest.read_text("utf-8"))["key"]
    before: dict[str, Any] = {"code": dict.fromkeys(key["code"], "0" * 16)}
    before |= {"settings": {"train": _without(key["settings"]["train"], "patience")}}
    _edit(manifest, key=key | before)
    reason = _workshop(tmp_path).look("one").reason
    assert reason == "train.patience was None, is 0"
    assert _workshop(tmp_path).adopt("one").manifest is not None
    assert _workshop(tmp_path).make("one").reused
    assert [adoption["reason"] for adoption in json.loads(manifest.read_text("utf-8"))["adopted"]] == [reason]


@pytest.mark.parametrize("change", ["setting", "file"])
def test_another_setting_or_a_changed_file_cannot_be_adopted(tmp_path: Path, change: str) -> None:
    _workshop(tmp_path).make("one")
    recipe = RECIPE
    if change == "setting":
        recipe = _with("train", r=16)
    else:
        (tmp_path / "first" / "sub" / "file.txt").write_text("r 23", "utf-8")
    with pytest.raises(ArtifactError, match="only a change of code or of a library can be adopted"):
        _workshop(tmp_path, recipe=recipe).adopt("one")


def test_a_library_of_another_version_makes_it_again_and_one_that_is_not_here_does_not(tmp_path: Path) -> None:
    stage = replace(FIRST, packages=("pydantic", "not-installed-anywhere"))
    _workshop(tmp_path, stage).make("one")
    assert _workshop(tmp_path, stage).make("one").reused
    manifest = tmp_path / "first" / "artifact.json"
    key = json.loads(manifest.read_text("utf-8"))["key"]
    _edit(manifest, key=key | {"packages": key["packages"] | {"not-installed-anywhere": "1"}})
    assert _workshop(tmp_path, stage).make("one").reused
    _edit(manifest, key=key | {"packages": {"pydantic": "1.0"}})
    assert _workshop(tmp_path, stage).look("one").reason.startswith("pydantic was 1.0, is 2.")


def test_an_input_whose_files_were_taken_away_still_says_what_was_made_from_it(tmp_path: Path) -> None:
    """An image carries the manifests of all stages, and the files of the last."""
    for name in ("one", "two"):
        _workshop(tmp_path).make(name)
    (tmp_path / "first" / "sub" / "file.txt").unlink()
    assert _workshop(tmp_path).load("second").report(Length).length == 4


def test_as_it_lies_what_the_recipe_says_now_does_not_count(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _workshop(tmp_path).make(name)
    lying = Workshop(_with("train", r=16), builtin_game(), tmp_path, (FIRST, SECOND), as_it_lies=True)
    assert lying.make("two").reused
    (tmp_path / "first" / "sub" / "file.txt").unlink()
    with pytest.raises(ArtifactError, match=r"first: one: sub/file\.txt is missing or was changed"):
        lying.make("two")


def test_a_run_in_which_nothing_is_done_does_not_read_the_model(tmp_path: Path) -> None:
    size = 200 << 20

    def model(job: Job) -> Length:
        with (job.folder / "model").open("wb") as file:
            file.truncate(size)
        return Length(length=size)

    stage = replace(FIRST, work=model)
    _workshop(tmp_path, stage).make("one")
    before = _bytes_read()
    assert _workshop(tmp_path, stage).make("one").reused
    assert _bytes_read() - before < 4 << 20
    with (tmp_path / "first" / "model").open("r+b") as file:
        file.write(b"x")
    assert _workshop(tmp_path, stage).look("one").reason == "model is missing or was changed"


def test_a_text_is_written_whole_or_not_at_all(small_disk: Path) -> None:
    write_text(small_disk / "a.md", "short")
    with pytest.raises(OSError, match="No space left"):
        write_text(small_disk / "a.md", "x" * 200_000)
    assert [(path.name, path.read_text("utf-8")) for path in small_disk.iterdir()] == [("a.md", "short")]


def _bytes_read() -> int:
    """By this process so far, from whatever file."""
    lines = Path("/proc/self/io").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def _without(section: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name != key}
