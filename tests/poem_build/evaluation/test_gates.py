"""The verdict: what refuses, what is only told, and when the composer is the better writer."""

from collections.abc import Sequence

import pytest

from poem_build.evaluation import assemble, bootstrap, gates, matrix, measures
from poem_build.evaluation.another import seen_as
from poem_build.evaluation.answers import Sheet
from poem_build.evaluation.gates import COUNTED
from poem_build.evaluation.matrix import LOST, TIED, WON, Contest, Reading
from poem_build.evaluation.report import Figure, Judged, Matrix
from poem_build.recipe.schema import Recipe, load_recipe
from support.evaluations import eval_report

HANDS = 20


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("tiny")


def _figure(name: str, values: Sequence[float], writer: str = "model") -> Figure:
    return measures.figure(name, "", bootstrap.mean(values), "share", "", writer=writer)


def _figures(passed: int = 18) -> list[Figure]:
    """Of a model that `tiny`'s gates let through, but for the first."""
    kept = [float(n < passed) for n in range(HANDS)]
    return [
        _figure("pass.first", kept),
        _figure("pass.first", [0.0] * HANDS, "base/free"),
        _figure("sentences.whole", [1.0] * HANDS),
        _figure("cards.above", [0.0] * HANDS),
    ]


def _table(judge: str, outcomes: Sequence[float | None], readings: Sequence[Reading] = ()) -> Matrix:
    contest = Contest(judge, "overall", {("model", "composer"): outcomes})
    bias = matrix.order_bias(judge, readings, 0)
    found = matrix.matrix(["model", "composer"], [contest], [bias] if bias else [])
    assert found is not None
    return found


def test_a_good_model_goes_on_stage_and_a_bad_one_does_not(recipe: Recipe) -> None:
    good = assemble.outcome(recipe, eval_report(_figures()), cut_short=False)
    assert (good.passed, good.below_composer, [one.gate for one in good.reasons if not one.holds]) == (True, False, [])
    bad = assemble.outcome(recipe, eval_report(_figures(passed=10)), cut_short=False)
    assert (bad.passed, bad.reasons[0].gate, bad.reasons[0].refuses) == (False, "eval_pass", True)
    assert bad.reasons[0].seen.startswith("50.0% (30.0% to 7")
    cut = assemble.outcome(recipe, eval_report(_figures(passed=10)), cut_short=True)
    assert (cut.passed, cut.reasons[0].gate, cut.reasons[0].holds) == (True, "eval_pass", False)


def test_a_short_report_refuses_only_what_its_interval_rules_out(recipe: Recipe) -> None:
    """80 % are asked for: 14 of 20 are fewer, and may be chance; 5 of 20 are not."""
    assert not assemble.outcome(recipe, eval_report(_figures(passed=14)), cut_short=False).passed
    few = assemble.outcome(recipe, eval_report(_figures(passed=14), hands=HANDS), cut_short=False)
    assert few.passed
    assert [one.gate for one in few.reasons if not one.sure] == ["eval_pass"]
    assert not assemble.outcome(recipe, eval_report(_figures(passed=5), hands=HANDS), cut_short=False).passed


@pytest.mark.parametrize(
    ("judge", "outcomes", "points", "below"),
    [
        ("openai:m", [LOST] * 15 + [WON] * 5, 9.0, True),
        ("openai:m", [LOST] * 11 + [WON] * 9, -9.0, False),
        ("openai:m", [TIED] * 20, -9.0, False),
        (COUNTED, [LOST] * 20, -9.0, True),
        (COUNTED, [LOST] * 20, 0.0, False),
    ],
)
def test_the_composer_writes_better_by_the_judges_or_else_by_points(
    recipe: Recipe, judge: str, outcomes: list[float | None], points: float, below: bool
) -> None:
    above = _figure("points.above_composer", [points + n % 2 for n in range(HANDS)])
    report = eval_report([*_figures(), above], table=_table(judge, outcomes))
    assert gates.below_composer(report) == below
    told = assemble.outcome(recipe, report, cut_short=False)
    assert (told.passed, told.below_composer) == (True, below)
    assert [one.gate for one in told.reasons if not one.holds] == (["below-composer"] if below else [])
    assert gates.verdict_of(report, refused=True) == ("below-composer" if below else "refused")
    assert gates.verdict_of(None, refused=False) == ""


def test_a_judge_that_goes_by_the_order_or_cannot_be_read_is_named(recipe: Recipe) -> None:
    table = _table("openai:m", [TIED] * 20, [Reading(0, 0)] * 18 + [Reading(0, 1)] * 2)
    judges = [Judged(name="openai:m", asked=100, unread=2), Judged(name="gemini:g", asked=100, unread=100)]
    told = assemble.outcome(recipe, eval_report(_figures(), table=table, judges=judges), cut_short=False)
    assert told.passed
    assert [(one.gate, one.what, one.seen) for one in told.reasons if not one.holds] == [
        ("judge", "openai:m goes by the order: answers for the poem that stood first", "95%"),
        ("judge", "gemini:g answers what nobody can read", "100 of 100 answers"),
    ]


@pytest.mark.parametrize("passed", [18, 10])
def test_a_writer_that_is_asked_without_the_schema_is_judged_by_its_own_figures(recipe: Recipe, passed: int) -> None:
    figures = [one.model_copy(update={"writer": "model/free"}) for one in _figures(passed)[:1]]
    seen = seen_as(eval_report([*_figures(), *figures]), "model/free", "tiny", [Sheet("model/free", [], [])])
    told = assemble.measured_outcome(recipe, seen)
    assert [(one.gate, one.holds) for one in told.reasons] == [("eval_pass", passed == 18)]
    assert told.passed == (passed == 18)
    (line,) = told.reasons
    assert (line.sense, line.bound, line.measured) == ("at least", recipe.gate.eval_pass, True)


def test_a_writer_of_whom_nothing_was_measured_does_not_go_on_stage(recipe: Recipe) -> None:
    told = assemble.measured_outcome(recipe, eval_report([], judges=[Judged(name="openai:m", asked=9, unread=9)]))
    assert (told.passed, [one.gate for one in told.reasons]) == (False, ["judge"])
