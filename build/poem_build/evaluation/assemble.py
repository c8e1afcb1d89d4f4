"""What `eval` measured and what the former stages found out → one report, its verdict by the recipe as it is now."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

from poem_build.data.dataset import DatasetReport
from poem_build.evaluation import bootstrap
from poem_build.evaluation.bootstrap import Estimate
from poem_build.evaluation.report import (
    MODEL,
    Evaluation,
    Figure,
    Former,
    Losses,
    Outcome,
    Provenance,
    Quantized,
    Reason,
    Unit,
)
from poem_build.judge.evaluate import EvalReport, red_lines
from poem_build.judge.fidelity import LAST, FidelityReport
from poem_build.judge.protocol import FILE, read_verdicts
from poem_build.models.files import SERVED
from poem_build.models.origin import Origin
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact
from poem_build.store.red_line import RedLine
from poem_build.train.adapter import TrainReport


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
        verdict=outcome(red_lines(report, recipe.gate), cut_short=origin.cut_short),
        provenance=_provenance(recipe, origin, stages),
        figures=_figures(stages.evaluated.path / FILE),
        rules=[],
        groups=[],
        samples=[],
        losses=_losses(stages.train),
        quantized=_quantized(stages.fidelity),
        matrix=None,
        poems=[],
        teacher_ratio=None,
        former=former,
    )


def outcome(lines: Sequence[RedLine], *, cut_short: bool) -> Outcome:
    """The verdict that the red lines make."""
    reasons = [
        Reason(gate=one.key, what=one.what, seen=one.figure, asked=one.limit, holds=one.holds, remedy=one.remedy)
        for one in lines
    ]
    refused = [one for one in lines if not one.holds and not (cut_short and one.whole_training)]
    return Outcome(
        passed=not refused,
        below_composer=False,
        cut_short=cut_short,
        reasons=sorted(reasons, key=lambda reason: reason.holds),
    )


def figure(
    name: str,
    what: str,
    found: Estimate,
    unit: Unit,
    better: Literal["higher", "lower", ""],
    *,
    writer: str = MODEL,
    gate: str = "",
) -> Figure:
    """The estimate under its name."""
    return Figure(
        name=name,
        writer=writer,
        what=what,
        value=found.value,
        low=found.low,
        high=found.high,
        unit=unit,
        better=better,
        count=found.count,
        gate=gate,
    )


def _figures(answers: Path) -> list[Figure]:
    """How many answers keep all rules, by who was asked and how."""
    asked = {
        "model, shape constrained": ("pass.schema", "hands within all rules at the first try", MODEL, "eval_pass"),
        "model, free": ("pass.free", "hands within all rules without the schema", MODEL, ""),
        "base, free": ("pass.free", "hands that the base answers alone", "base", "base_pass_at_most"),
    }
    verdicts = read_verdicts(answers)
    found = []
    for told, (name, what, writer, gate) in asked.items():
        kept = [one.passed for one in verdicts if one.asked == told]
        found.append(figure(name, what, bootstrap.share(kept), "share", "higher", writer=writer, gate=gate))
    return found


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
        hands=report.constrained.hands,
        hands_version="dataset",
        teacher=stages.dataset.teacher,
        gguf=stages.gguf.files[SERVED],
        steps=stages.train.steps.done if stages.train else 0,
        device=platform.processor() or platform.machine(),
        packages=dict(manifest.key.packages) | {"mansion-poem": metadata.version("mansion-poem")},
        judges=["rules"],
        cost_yen=0.0,
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
        hands_version=told.hands_version,
        figures=former.figures,
    )
