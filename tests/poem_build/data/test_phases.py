import json
from pathlib import Path
from typing import Any

import pytest

from poem.game import builtin_game
from poem_build.data.phases import GATES, PHASES, check_gate, estimate, sample_usage, sizes, table_of
from poem_build.data.taught import write_taught
from poem_build.errors import GateError
from poem_build.models.files import SERVED
from poem_build.store.artifact import Key, Manifest, write_manifest
from poem_build.store.digest import Digests
from poem_build.store.folder import digest_of_files
from poem_build.teacher.money import FREE, load_prices
from support.course import spec_of

GAME = builtin_game()
READS = {"dataset": (), "adapter": ("dataset",), "merged": ("adapter",), "gguf": ("merged", "dataset")}
"""What each stage on the way to a student is made from, the base aside."""


def _poems(out: Path, phase: int, text: str = "", **told: Any) -> None:
    """What `teacher run` leaves, but for the poems."""
    (out / "teacher" / "poems").mkdir(parents=True, exist_ok=True)
    about = {"teacher": "gemini", "game_digest": GAME.deck.digest, "phase": phase, "gate": None}
    write_taught(out / "teacher" / "poems", GAME, {}, about | told | {"text": text})


def _make(out: Path, stage: str, content: str = "", **inputs: str) -> None:
    """A stage's manifest as it would be, were the stage made from what lies beside it now."""
    (out / stage).mkdir(exist_ok=True)
    made = {one: json.loads((out / one / "artifact.json").read_text("utf-8"))["files"] for one in READS[stage]}
    inputs |= {one: digest_of_files(files, ("*",)) for one, files in made.items()}
    key = Key(stage=stage, report=1, settings={}, inputs=inputs, packages={}, code={})
    files = {SERVED: f"{content}{inputs}"}
    reads = dict.fromkeys(READS[stage], ("*",))
    write_manifest(out / stage, Manifest(key=key, reads=reads, files=files, report={}, seconds=1))


def _train(out: Path) -> None:
    """A student of the poems that lie there now."""
    poems = Digests(out / ".digests.json").place(out / "teacher" / "poems")
    _make(out, "dataset", taught=poems)
    for stage in ("adapter", "merged", "gguf"):
        _make(out, stage)


def _report(text: str) -> Any:
    return lambda out: (out / "eval" / "report.json").write_text(text, "utf-8")


def _evaluate(out: Path, mean: float = 0.9, **change: Any) -> None:
    """The report on the student that lies there now."""
    gguf = json.loads((out / "gguf" / "artifact.json").read_text("utf-8"))["files"][SERVED]
    ratio = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}
    (out / "eval").mkdir(exist_ok=True)
    _report(json.dumps({"provenance": {"gguf": gguf}, "teacher_ratio": ratio} | change))(out)


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """Of the first phase, with the report on it."""
    _poems(tmp_path, 0)
    _train(tmp_path)
    _evaluate(tmp_path)
    return tmp_path


def _gate(phase: int, out: Path) -> Any:
    return check_gate(phase, out, GAME, " --recipe r", " --teacher gemini")


def test_the_first_phase_needs_no_report(tmp_path: Path) -> None:
    assert _gate(0, tmp_path) is None


@pytest.mark.parametrize("phase", range(1, len(PHASES)))
def test_a_student_not_far_enough_stops_the_next_phase(tmp_path: Path, phase: int) -> None:
    needed = GATES[phase - 1]
    _poems(tmp_path, phase - 1)
    _train(tmp_path)
    _evaluate(tmp_path, needed)
    passed = _gate(phase, tmp_path)
    assert passed["needed"] == needed
    _evaluate(tmp_path, needed - 0.02)
    with pytest.raises(GateError, match=f"teacher_ratio.mean: .* after phase {phase - 1}, .* for phase {phase};"):
        _gate(phase, tmp_path)


@pytest.mark.parametrize("ratio", [None, {"low": 1}, {"mean": float("nan")}, {"mean": "much"}, 1])
def test_a_report_that_says_nothing_of_the_teacher_stops_too(student: Path, ratio: Any) -> None:
    _evaluate(student, teacher_ratio=ratio)
    with pytest.raises(GateError, match=r"teacher_ratio: has no mean; `poem-build eval .*` makes it; --force"):
        _gate(1, student)


def _remake(*stages: str) -> Any:
    def remade(out: Path) -> None:
        for stage in stages:
            _make(out, stage, "another")

    return remade


TEACH = "poem-build teacher run --recipe r --teacher gemini --phase 0"
RUN = "poem-build run --recipe r --taught {out}/teacher/poems"
EVAL = "poem-build eval --recipe r --taught {out}/teacher/poems"
OTHER = "is on no student of the poems in {out}/teacher/poems"
NOTHING = "{out}/teacher/poems has no poems of phase 0 for this deck"


@pytest.mark.parametrize(
    ("spoil", "why", "commands"),
    [
        (lambda out: (out / "eval" / "report.json").unlink(), "is not there", [EVAL]),
        (_report("{}"), OTHER, [EVAL]),
        (_report("nonsense"), OTHER, [EVAL]),
        (_report("[]"), OTHER, [EVAL]),
        (_report('{"provenance": {"gguf": "another"}}'), OTHER, [EVAL]),
        (_remake("dataset", "adapter", "merged", "gguf"), OTHER, [RUN, EVAL]),  # composed poems
        (_remake("adapter"), OTHER, [RUN, EVAL]),  # one from elsewhere was merged
        (_remake("dataset"), OTHER, [RUN, EVAL]),  # made anew since the training
        (_remake("gguf"), OTHER, [EVAL]),  # made anew since the report
        (lambda out: _poems(out, 0, "others"), OTHER, [RUN, EVAL]),
        (lambda out: _poems(out, 1, forced=True), NOTHING, [TEACH, RUN, EVAL]),
        (lambda out: _poems(out, 0, game_digest="another"), NOTHING, [TEACH, RUN, EVAL]),
        (lambda out: (out / "teacher" / "poems" / "teacher.json").unlink(), NOTHING, [TEACH, RUN, EVAL]),
    ],
)
def test_only_the_report_on_a_student_of_the_phase_before_counts(
    student: Path, spoil: Any, why: str, commands: list[str]
) -> None:
    assert _gate(1, student)["teacher_ratio"]["mean"] == 0.9
    spoil(student)
    with pytest.raises(GateError) as refused:
        _gate(1, student)
    assert str(refused.value) == (
        f"{student / 'eval' / 'report.json'}: {why}; phase 1 needs the report on phase 0: `{' && '.join(commands)}` "
        "makes it; --force goes on without, and is recorded"
    ).format(out=student)


def test_a_phase_that_was_let_through_is_again_whatever_was_trained_since(student: Path) -> None:
    passed = _gate(1, student)
    _poems(student, 1, gate=passed)
    assert _gate(1, student) == passed
    _train(student)
    assert _gate(1, student) == passed
    with pytest.raises(GateError, match="phase 2 needs the report on phase 1: `poem-build eval "):
        _gate(2, student)
    _evaluate(student)
    assert _gate(2, student)["needed"] == GATES[1]


def test_hands_are_split_eight_to_one_to_one() -> None:
    assert [sizes(hands) for hands in (100, 5000)] == [
        {"train": 80, "valid": 10, "test": 10},
        {"train": 4000, "valid": 500, "test": 500},
    ]
    assert sum(sizes(137).values()) == 137


def test_what_a_phase_takes_is_said_before_it_begins() -> None:
    prices = load_prices()
    price = prices.models["gemini-2.5-flash"]
    one = sample_usage(GAME, spec_of(), FREE)
    row = estimate(100, one, price, 60)
    assert row.seconds == 100
    assert 0.01 < row.usd < 0.5
    assert row.told(150).endswith("1.7 min")
    assert row.told(150, batch=True).endswith("up to 24 h")
    assert "min" not in table_of(one, FREE, prices, 60)  # a composer's, or one's own machine
    assert estimate(100, one, price, 60, batch=True).usd == pytest.approx(row.usd / 2)
    assert sample_usage(GAME, spec_of(cache_ttl_s=3600), price) == one  # too short for that model
    kept = sample_usage(GAME, spec_of(cache_ttl_s=3600), FREE)
    assert estimate(100, kept, price, 60).usd < row.usd
    assert estimate(100, kept, price, 0.6).usd > estimate(100, kept, price, 60).usd
    assert sample_usage(GAME, spec_of(cache_ttl_s=3600), FREE, batch=True) == one
    assert [line.split()[:2] for line in table_of(one, FREE, prices, 60).splitlines()] == [
        ["phase", str(n)] for n in range(4)
    ]
