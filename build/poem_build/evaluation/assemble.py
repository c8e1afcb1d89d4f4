"""What `eval` measured and what the former stages found out → one report, its verdict by the recipe as it is now."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from poem_build.data.dataset import DatasetReport
from poem_build.evaluation.gates import LINES, EvalReport, below_composer, red_lines
from poem_build.evaluation.history import REGRESSION, changes
from poem_build.evaluation.outcome import Outcome, Reason
from poem_build.evaluation.report import (
    Evaluation,
    Former,
    Losses,
    Provenance,
    Quantized,
)
from poem_build.judge.fidelity import LAST, FidelityReport
from poem_build.models.files import model_digest
from poem_build.models.origin import Origin
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact
from poem_build.train.adapter import TrainReport

_UNREAD_BORNE = 0.05
"""The share of a judge's answers that may be unreadable before it is told."""


@dataclass(frozen=True)
class Stages:
    """The artifacts that a report tells of; a stage that has not run has none."""

    evaluated: Artifact
    gguf: Artifact
    dataset: DatasetReport
    train: TrainReport | None
    fidelity: FidelityReport | None


def assemble(recipe: Recipe, origin: Origin, stages: Stages, former: Former | None) -> Evaluation:
    """The report, beside the former one if there is any."""
    report = stages.evaluated.report(EvalReport)
    return Evaluation(
        verdict=outcome(recipe, report, former, cut_short=origin.cut_short),
        provenance=_provenance(recipe, origin, stages),
        **report.measured(),
        losses=_losses(stages.train),
        quantized=_quantized(stages.fidelity),
        former=former,
    )


def outcome(recipe: Recipe, report: EvalReport, former: Former | None = None, *, cut_short: bool) -> Outcome:
    """The verdict that the red lines and a former build make, and what else a reader has to know."""
    reasons = [
        Reason(
            gate=line.key,
            what=line.what,
            seen=line.figure,
            asked=line.limit,
            sense=line.sense,
            bound=line.asked,
            measured=line.measured,
            holds=line.holds,
            refuses=not line.holds and not (cut_short and line.whole_training),
            remedy=line.remedy,
            sure=line.sure,
        )
        for line in red_lines(report, recipe.gate)
    ]
    below = below_composer(report)
    reasons += [*_regressions(report, former), *_warnings(report, below=below)]
    return Outcome(
        passed=not any(reason.refuses for reason in reasons),
        below_composer=below,
        cut_short=cut_short,
        reasons=sorted(reasons, key=lambda reason: (not reason.refuses, reason.holds, reason.sure)),
    )


def measured_outcome(recipe: Recipe, report: EvalReport) -> Outcome:
    """The verdict on a writer who is no trained model: by those gates alone whose figure it has, one at the least."""
    found = outcome(recipe, report, cut_short=False)
    asked = [one for one in found.reasons if one.measured]
    measured = found.passed or any(one.gate in LINES for one in asked)
    return found.model_copy(update={"reasons": asked, "passed": measured and not any(one.refuses for one in asked)})


def _regressions(report: EvalReport, former: Former | None) -> Iterator[Reason]:
    """Where the model is worse than the former build beyond the intervals."""
    for one in changes(report.figures, former):
        if one.regression:
            now, before = (f"{each.value:g}, {each.low:g} to {each.high:g}" for each in (one.now, one.former))
            yield Reason(
                gate=REGRESSION,
                what=one.now.what,
                seen=now,
                asked=f"the former build's {before}",
                holds=False,
                refuses=True,
                remedy="take the former build, or see what `poem-build run --why` says has changed",
            )


def _warnings(report: EvalReport, *, below: bool) -> Iterator[Reason]:
    """What no key of `[gate]` refuses."""
    if below:
        yield _warning(
            "below-composer",
            "the composer writes better, beyond the interval",
            "below",
            "not below",
            "POEM_WRITER=auto asks the composer instead",
        )
    for judge in report.judge_is_teacher:
        what = f"{judge} wrote what the model learnt from, and knows its own hand"
        yield _warning("judge", what, judge, "another than the teacher", "give another --judge")
    for one in report.matrix.bias if report.matrix else []:
        if one.biased:
            what = f"{one.judge} goes by the order: answers for the poem that stood first"
            yield _warning("judge", what, f"{one.first.value:.0%}", "50%", "give another --judge", bound=0.5)
    for who in report.judges:
        if who.unread > who.asked * _UNREAD_BORNE:
            what, told = f"{who.name} answers what nobody can read", f"{who.unread} of {who.asked} answers"
            asked = f"at most {_UNREAD_BORNE:.0%}"
            yield _warning("judge", what, told, asked, "give another --judge", sense="at most", bound=_UNREAD_BORNE)


def _warning(gate: str, what: str, seen: str, asked: str, remedy: str, **bound: Any) -> Reason:
    return Reason(gate=gate, what=what, seen=seen, asked=asked, holds=False, refuses=False, remedy=remedy, **bound)


def _provenance(recipe: Recipe, origin: Origin, stages: Stages) -> Provenance:
    manifest = stages.evaluated.manifest
    assert manifest is not None
    report = stages.evaluated.report(EvalReport)
    return Provenance(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=manifest.seconds,
        recipe=recipe.name,
        params=recipe.params,
        base=recipe.base.name,
        licence=recipe.licence,
        game=origin.game,
        game_digest=origin.game_digest,
        prompt_version=origin.prompt_version,
        hands=report.hands,
        hands_version=report.hands_version,
        teacher=stages.dataset.teacher,
        gguf=model_digest(stages.gguf.files),
        steps=stages.train.steps.done if stages.train else 0,
        device=report.device,
        packages=dict(manifest.key.packages) | {"mansion-poem": metadata.version("mansion-poem")},
        judges=report.judges,
        cost_usd=report.cost_usd,
    )


def _losses(train: TrainReport | None) -> Losses | None:
    if train is None:
        return None
    return Losses(steps=train.steps.done, train=train.train_loss, valid=train.valid_curve, kept_step=train.steps.kept)


def _quantized(fidelity: FidelityReport | None) -> list[Quantized]:
    if fidelity is None:
        return []
    return [Quantized(name=name, served=name == LAST, **near.model_dump()) for name, near in fidelity.quantized.items()]


def former_of(former: Evaluation) -> Former:
    """What a report tells of another build's."""
    told = former.provenance
    return Former(
        made_at=told.made_at,
        gguf=told.gguf,
        passed=former.verdict.passed,
        below_composer=former.verdict.below_composer,
        hands_version=told.hands_version,
        figures=former.figures,
    )
