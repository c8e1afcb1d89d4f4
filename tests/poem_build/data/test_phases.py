import json
from pathlib import Path

import pytest

from poem.game import builtin_game
from poem_build.data.phases import GATES, PHASES, check_gate, estimate, sample_usage, sizes, table_of
from poem_build.errors import GateError
from poem_build.teacher.money import FREE, load_prices
from support.course import spec_of


def _report(path: Path, mean: float) -> Path:
    path.write_text(json.dumps({"teacher_ratio": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}}), "utf-8")
    return path


def test_the_first_phase_needs_no_report(tmp_path: Path) -> None:
    assert check_gate(0, tmp_path / "none.json") is None


@pytest.mark.parametrize("phase", range(1, len(PHASES)))
def test_a_student_not_far_enough_stops_the_next_phase(tmp_path: Path, phase: int) -> None:
    needed = GATES[phase - 1]
    passed = check_gate(phase, _report(tmp_path / "report.json", needed))
    assert passed is not None
    assert passed["needed"] == needed
    with pytest.raises(GateError, match=f"teacher_ratio.mean: .* after phase {phase - 1}, .* for phase {phase};"):
        check_gate(phase, _report(tmp_path / "report.json", needed - 0.02))


NAN = '{"teacher_ratio": {"mean": NaN}}'


@pytest.mark.parametrize(
    "text", ["{}", "nonsense", '{"teacher_ratio": null}', '{"teacher_ratio": {"low": 1}}', "[]", NAN]
)
def test_a_report_that_says_nothing_of_the_teacher_stops_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text, "utf-8")
    with pytest.raises(GateError, match=r"teacher_ratio: has no mean; `poem-build eval` makes it; --force"):
        check_gate(1, tmp_path / "report.json")
    with pytest.raises(GateError, match="needs the report on phase 0"):
        check_gate(1, tmp_path / "none.json")


def test_hands_are_split_eight_to_one_to_one() -> None:
    assert [sizes(hands) for hands in (100, 5000)] == [
        {"train": 80, "valid": 10, "test": 10},
        {"train": 4000, "valid": 500, "test": 500},
    ]
    assert sum(sizes(137).values()) == 137


def test_what_a_phase_takes_is_said_before_it_begins() -> None:
    prices = load_prices()
    price = prices.models["gemini-2.5-flash"]
    one = sample_usage(builtin_game(), spec_of(), FREE)
    row = estimate(100, one, price, 60)
    assert row.seconds == 100
    assert 0.01 < row.usd < 0.5
    assert row.told(150).endswith("1.7 min")
    assert row.told(150, batch=True).endswith("up to 24 h")
    assert "min" not in table_of(one, FREE, prices, 60)  # a composer's, or one's own machine
    assert estimate(100, one, price, 60, batch=True).usd == pytest.approx(row.usd / 2)
    assert sample_usage(builtin_game(), spec_of(cache_ttl_s=3600), price) == one  # too short for that model
    kept = sample_usage(builtin_game(), spec_of(cache_ttl_s=3600), FREE)
    assert estimate(100, kept, price, 60).usd < row.usd
    assert estimate(100, kept, price, 0.6).usd > estimate(100, kept, price, 60).usd
    assert sample_usage(builtin_game(), spec_of(cache_ttl_s=3600), FREE, batch=True) == one
    assert [line.split()[:2] for line in table_of(one, FREE, prices, 60).splitlines()] == [
        ["phase", str(n)] for n in range(4)
    ]
