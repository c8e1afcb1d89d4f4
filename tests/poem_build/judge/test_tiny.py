"""The gates of the real `tiny`: what `make test-all` adds."""

from pathlib import Path

import pytest

from poem_build.cli import pipeline
from poem_build.evaluation.gates import EvalReport
from poem_build.recipe.schema import load_recipe
from support.chain import workshop_of


@pytest.mark.long
def test_tiny_speaks_and_its_adapter_does_the_work(tiny: Path) -> None:
    workshop = workshop_of(load_recipe("tiny"), tiny)
    report = pipeline.make(workshop, "eval").report(EvalReport)  # raises GateError below the recipe's gates
    assert report.hands == 400
    found = [report.figure("pass.first"), report.figure("pass.first", "base/free")]
    assert [one.value > 0.8 if n == 0 else one.value < 0.1 for n, one in enumerate(found) if one] == [True, True]
