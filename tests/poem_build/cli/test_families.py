"""For every family a random model of its architecture: trained, merged, converted, quantized, loaded, registered.

`make test` takes two of them through the chain: Qwen's in `test_chain.py`, Gemma 3's in `models/test_source.py`. Their
adapters beside a base: `export/test_beside.py`.
"""

from pathlib import Path

import httpx
import pytest

from poem_build.cli import pipeline
from poem_build.engine.ollama import digests
from poem_build.export.convert import ConvertReport
from poem_build.export.quantized import QuantizeReport
from poem_build.judge.fidelity import FidelityReport
from poem_build.judge.verify import VerifyReport
from poem_build.models.family import family
from poem_build.models.shapes import of_folder
from poem_build.recipe.schema import Recipe, family_names, load_recipe, recipe_names
from poem_build.ship.register import RegisterReport
from support.chain import workshop_of
from support.small_models import CONTEXT, EVERY_FAMILY, write_small_model


def _few(recipe: Recipe, base: Path) -> Recipe:
    """As little of everything as shows that it goes through."""
    sections = {
        "base": {"hub": None, "revision": None, "path": base},
        "dataset": {"train": 8, "valid": 2, "test": 5, "handwritten": 0},
        "train": {
            **{"method": "lora", "bits": None, "offload": "none", "gradient_checkpointing": False, "r": 4},
            **{"lora_alpha": 8, "max_steps": 3, "batch": 2, "micro_batch": 1, "dtype": "float32"},
        },
        "serve": {"num_ctx": CONTEXT, "num_predict": 1000},
        "gate": {"token_parity_texts": 200, "smoke_hands": 1, "smoke_pass": 0.0, "eval_hands": 2, "fidelity_poems": 2},
    }
    return recipe.model_copy(
        update={name: getattr(recipe, name).model_copy(update=change) for name, change in sections.items()}
    )


def test_every_trained_recipe_has_a_proof_of_its_family_and_architecture() -> None:
    recipes = [load_recipe(name) for name in recipe_names()]
    kinds = {(r.base.family, r.shape.architecture) for r in recipes if r.shape and r.status == "shape proved"}
    proved = [load_recipe(name) for name in EVERY_FAMILY]
    assert kinds <= {(r.base.family, r.shape.architecture) for r in proved if r.shape}
    assert {r.base.family for r in proved} == set(family_names())


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # T5's vocabulary is left open
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")  # GPT-2's matrices; peft then sets it itself
@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_a_random_model_of_every_family_goes_through_every_stage(name: str, tmp_path: Path, ollama: str) -> None:
    asked = load_recipe(name)
    base = write_small_model(tmp_path / "base", asked)
    recipe = _few(asked, base)
    shape, real = of_folder(base), asked.shape
    assert real is not None
    assert (shape.architecture, shape.tied, shape.gated) == (real.architecture, real.tied, real.gated)
    assert (shape.experts > 0, shape.window > 0, shape.full_every) == (
        real.experts > 0,
        real.window > 0,
        real.full_every,
    )
    try:
        made = {one.path.name: one for one in pipeline.run_all(workshop_of(recipe, tmp_path / "out", ollama))}
    finally:
        for registered in digests(ollama):  # the server is every test's
            httpx.request("DELETE", f"{ollama}/api/delete", json={"model": registered}).raise_for_status()
    assert made["f16"].report(ConvertReport).token_parity.different == []
    assert abs(made["fidelity"].report(FidelityReport).f16_above_merged) < recipe.gate.nll_within
    report = made["gguf"].report(QuantizeReport)
    assert sum(count for kind, count in report.tensors.items() if kind in ("Q4_K", "Q6_K")) > 8
    assert made["verify"].report(VerifyReport).score.malformed == 0
    assert made["register"].report(RegisterReport).token_counts.different == []
    assert family(recipe.base.family).stop[0] in (made["modelfile"].path / "create.json").read_text("utf-8")
