"""What came before a report, what has changed since, and that every report stays."""

from pathlib import Path

import pytest

from poem_build.evaluation import history, matrix, ratios
from poem_build.evaluation.assemble import former_of, outcome
from poem_build.evaluation.history import changes
from poem_build.evaluation.matrix import Contest
from poem_build.evaluation.names import COMPOSER
from poem_build.evaluation.report import MODEL, Figure
from poem_build.recipe.schema import load_recipe
from support.evaluations import an_evaluation, eval_report, share

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
DECK = an_evaluation().provenance.game_digest


@pytest.mark.parametrize(
    ("name", "before", "now", "sense"),
    [
        ("pass.delivered", 0.99, 0.90, "worse"),
        ("pass.delivered", 0.99, 0.985, ""),
        ("pass.delivered", 0.90, 0.99, "better"),
        ("sentences.shared", 0.03, 0.20, "worse"),
        ("sentences.shared", 0.20, 0.03, "better"),
        ("pass.title", 1.0, 0.9975, ""),
        ("pass.title", 1.0, 0.95, "worse"),
    ],
)
def test_a_change_is_one_where_the_intervals_lie_apart(name: str, before: float, now: float, sense: str) -> None:
    former = former_of(an_evaluation(A, shares={name: before}))
    (change,) = changes([share(name, now)], former)
    assert change.sense == sense
    assert change.regression == (sense == "worse")


def test_a_slower_day_of_the_machine_is_told_and_turns_nothing() -> None:
    there = an_evaluation(A)
    slow = there.figure("speed.answer")
    assert slow is not None
    now = slow.model_copy(update={"value": 9.0, "low": 8.5, "high": 9.5})
    (change,) = changes([now], former_of(there))
    assert (change.sense, change.regression) == ("worse", False)


def test_a_share_in_which_nothing_varied_has_an_interval_all_the_same() -> None:
    flat = share("pass.title", 1.0).model_copy(update={"low": 1.0})
    former = former_of(an_evaluation(A)).model_copy(update={"figures": [flat]})
    (change,) = changes([share("pass.title", 0.9975)], former)
    assert change.sense == ""


def test_a_fall_turns_the_verdict_and_the_same_build_again_does_not() -> None:
    recipe = load_recipe("tiny")
    none = dict.fromkeys(("conceal_lemma", "deliver_pass"))
    gate = recipe.gate.model_copy(update={"eval_pass": 0.0, "base_pass_at_most": 1.0, "whole_sentences": 0.0, **none})
    recipe = recipe.model_copy(update={"gate": gate})
    former = former_of(an_evaluation(A))
    for delivered, refusing in ((0.99, []), (0.90, ["regression"])):
        figures = an_evaluation(B, shares={"pass.delivered": delivered}).figures
        told = outcome(recipe, eval_report(figures), former, cut_short=False)
        reasons = [one.gate for one in told.reasons if one.refuses]
        assert [one for one in reasons if one not in ("cards_above", "base_pass_at_most")] == refusing


def test_each_report_stays_and_the_same_measured_again_is_one(tmp_path: Path) -> None:
    room = tmp_path / history.FOLDER
    first = an_evaluation(A, "2026-11-20T09:30:00+00:00")
    second = an_evaluation(B, "2026-11-21T09:30:00+00:00", {"pass.first": 0.9}, first)
    for one in (second, first, first.model_copy(update={"former": None})):
        history.keep(room, one)
    assert [one.provenance.gguf for one in history.history(room)] == [A, B]
    (room / "20261122T000000-damaged.json").write_text("{", "utf-8")
    assert len(history.history(room)) == 2


def test_the_measure_is_the_last_build_that_passed(tmp_path: Path) -> None:
    """Or a fall that was refused would be the measure of the next one."""
    room = tmp_path / history.FOLDER
    good, bad = an_evaluation(A, "2026-11-20T09:30:00+00:00"), an_evaluation(B, "2026-11-21T09:30:00+00:00")
    refused = bad.model_copy(update={"verdict": bad.verdict.model_copy(update={"passed": False})})
    history.keep(room, good)
    assert history.before(room, A, "1-f85a0819", DECK) is None
    history.keep(room, refused)
    for gguf, expected in ((C, A), (A, B)):
        found = history.before(room, gguf, "1-other", DECK)
        assert found is not None
        assert found.provenance.gguf == expected
    assert history.before(room, C, "2-f85a0819", DECK) is None


def test_a_report_on_other_cards_is_no_measure(tmp_path: Path) -> None:
    room = tmp_path / history.FOLDER
    history.keep(room, an_evaluation(A, "2026-11-20T09:30:00+00:00"))
    history.keep(room, an_evaluation(B, "2026-11-21T09:30:00+00:00", deck="more cards"))
    for deck, expected in ((DECK, A), ("more cards", B)):
        found = history.before(room, C, "1-f85a0819", deck)
        assert found is not None
        assert found.provenance.gguf == expected
    assert history.before(room, C, "1-f85a0819", "yet more") is None


@pytest.mark.parametrize(("judge", "worse"), [("gemini:flash", [True]), ("openai:mini", [])])
def test_duels_are_a_fall_only_before_the_same_judge(judge: str, worse: list[bool]) -> None:
    """Two judges have two tastes, and the one's figure says nothing about the other's."""
    former = former_of(an_evaluation(A)).model_copy(update={"figures": _duels("gemini:flash", 0.9)})
    assert [one.regression for one in changes(_duels(judge, 0.4), former)] == worse


def _duels(judge: str, won: float) -> list[Figure]:
    """What a report tells of the duels with the composer, the model winning so many of a hundred hands."""
    outcomes: list[float | None] = [float(n < 100 * won) for n in range(100)]
    table = matrix.matrix([MODEL, COMPOSER], [Contest(judge, "overall", {(MODEL, COMPOSER): outcomes})], [])
    assert table is not None
    return ratios.over_composer(table.duels)
