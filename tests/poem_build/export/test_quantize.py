"""A file that is called Q4_K_M: what must have become of its matrices."""

import shutil
from pathlib import Path

import pytest

from poem_build.errors import GateError
from poem_build.export.quantization import quantize_file, tensor_types
from poem_build.export.quantize import QuantizeReport
from poem_build.models.files import F16, SERVED
from poem_build.models.origin import read_origin, write_origin
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact
from poem_build.store.stage import Job
from support.chain import changed, planted, workshop_of
from support.tiny_gguf import write_tiny_gguf


def _made(chain: dict[str, Artifact], source: Path | None, kind: str, job: Job) -> QuantizeReport:
    """The stage's work with another file or another mixture."""
    quantize_file(source or job.path("f16", F16), job.folder / SERVED, kind)  # type: ignore[arg-type]
    write_origin(job.folder, read_origin(job.path("f16")))
    report = chain["gguf"].report(QuantizeReport)
    return report.model_copy(update={"tensors": dict(tensor_types(job.folder / SERVED))})


@pytest.mark.parametrize(("narrow", "kind"), [(False, "Q8_0"), (True, "Q4_K_M")])
def test_a_file_without_a_k_quant_is_refused(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe: Recipe, narrow: bool, kind: str
) -> None:
    """Another mixture, or rows that are no multiple of 256, for which llama.cpp takes something else in silence."""
    shutil.copytree(out, tmp_path / "out")
    source = write_tiny_gguf(tmp_path / "narrow.gguf") if narrow else None
    workshop = planted(recipe, tmp_path / "out", "quantize", lambda job: _made(chain, source, kind, job))
    told = r"model-Q4_K_M\.gguf: gate\.k_quants: matrices that became K-quants: 0 \(.*\), asked for at least 1"
    with pytest.raises(GateError, match=told):
        workshop.make("quantize")


def test_how_many_there_must_be_is_the_recipe_s_to_say(chain: dict[str, Artifact], out: Path, recipe: Recipe) -> None:
    count = sum(n for kind, n in chain["gguf"].report(QuantizeReport).tensors.items() if kind != "F32")
    assert workshop_of(changed(recipe, "gate", k_quants=count), out).make("quantize").reused
    with pytest.raises(GateError, match=r"gate\.k_quants: "):
        workshop_of(changed(recipe, "gate", k_quants=count + 1), out).make("quantize")
