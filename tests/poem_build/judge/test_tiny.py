"""The gates of the real `tiny`: what `make test-all` adds."""

from pathlib import Path

import pytest

from poem_build.cli.pipeline import run_all
from poem_build.judge import evaluate
from poem_build.recipe.schema import load_recipe


@pytest.mark.long
def test_tiny_speaks_and_its_adapter_does_the_work(tmp_path: Path) -> None:
    recipe = load_recipe("tiny")
    for _ in run_all(recipe, tmp_path, "", ollama=False):
        pass
    told = evaluate.run(recipe, tmp_path).figures  # raises GateError below the recipe's gates
    assert told["constrained"]["hands"] == 200
    assert told["constrained"]["passed"] >= 180
    assert told["base_unconstrained"]["passed"] <= 5
