"""A file that is called Q4_K_M: what must have become of its matrices."""

import shutil
from dataclasses import replace
from pathlib import Path

import llama_cpp
import pytest

from poem.game import builtin_game
from poem_build.cli import pipeline
from poem_build.errors import GateError, ModelFileError, PlanError
from poem_build.export import quantize
from poem_build.export.quantization import quantize_file, tensor_types
from poem_build.export.quantized import QuantizeReport
from poem_build.judge.fidelity import FidelityReport
from poem_build.models.files import F16, IMATRIX, SERVED
from poem_build.models.origin import read_origin, write_origin
from poem_build.recipe.quantize import MIXTURES, NEEDS_MATRIX
from poem_build.recipe.schema import Recipe, load_recipe
from poem_build.store.artifact import Artifact
from poem_build.store.stage import Job
from support.chain import changed, planted, workshop_of
from support.tiny_gguf import write_tiny_gguf


def _made(chain: dict[str, Artifact], source: Path | None, kind: str, job: Job) -> QuantizeReport:
    """The stage's work with another file or another mixture."""
    quantize_file(source or job.path("f16", F16), job.folder / SERVED, kind)
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


def test_several_mixtures_in_one_run_and_all_of_them_in_the_table(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe: Recipe
) -> None:
    shutil.copytree(out, tmp_path / "out")
    wanted = changed(recipe, "quantize", types=("Q2_K", "Q6_K"), compared=("Q3_K_M",), imatrix=False)
    workshop = workshop_of(wanted, tmp_path / "out")
    made = pipeline.make(workshop, "quantize")
    report = made.report(QuantizeReport)
    assert (report.imatrix, (made.path / IMATRIX).exists()) == (None, False)
    assert list(report.bytes) == ["f16", "Q6_K", "Q4_K_M", "Q2_K"]
    assert [*report.bytes.values()] == sorted(report.bytes.values(), reverse=True)
    assert {path.name for path in made.path.glob("*.gguf")} == {f"model-{kind}.gguf" for kind in list(report.bytes)[1:]}
    seen = pipeline.make(workshop, "fidelity").report(FidelityReport)
    assert list(seen.quantized) == ["f16", "Q6_K", "Q4_K_M", "Q3_K_M", "Q2_K"]
    table = (tmp_path / "out" / "fidelity.md").read_text("utf-8")
    assert all(f"| {kind} | " in table for kind in seen.quantized)
    assert {path.name for path in (tmp_path / "out" / "fidelity").iterdir()} == {"artifact.json"}
    assert pipeline.make(workshop, "fidelity").reused
    other = workshop_of(changed(wanted, "quantize", texts=3), tmp_path / "out")
    assert "texts" in other.look("quantize").reason


def test_every_mixture_that_llama_cpp_has_can_be_asked_for() -> None:
    prefix = "LLAMA_FTYPE_MOSTLY_"
    known = {name.removeprefix(prefix) for name in dir(llama_cpp) if name.startswith(prefix)}
    assert known - {"NVFP4"} == MIXTURES.keys()  # llama.cpp reads that one, and makes none
    assert list(MIXTURES.values()) == sorted(MIXTURES.values(), reverse=True)


@pytest.mark.long
@pytest.mark.parametrize("kind", MIXTURES)
def test_every_mixture_is_made_about_as_large_as_it_is_said_to_be(
    chain: dict[str, Artifact], tmp_path: Path, kind: str
) -> None:
    f16, matrix = chain["f16"].path / F16, chain["gguf"].path / IMATRIX
    quantize_file(f16, tmp_path / "out.gguf", kind, matrix)
    assert tensor_types(tmp_path / "out.gguf")
    if kind in NEEDS_MATRIX:
        with pytest.raises(ModelFileError, match="this quantization requires an imatrix"):
            quantize_file(f16, tmp_path / "none.gguf", kind)
    else:
        quantize_file(f16, tmp_path / "none.gguf", kind)


def test_a_disk_that_is_too_small_is_told_before_hours_of_work(chain: dict[str, Artifact], tmp_path: Path) -> None:
    (tmp_path / "f16").mkdir()
    write_tiny_gguf(tmp_path / "f16" / F16)
    with (tmp_path / "f16" / F16).open("ab") as file:
        file.truncate(8 * 10**12)  # a file with a hole takes no room
    job = Job(
        recipe=load_recipe("tiny"),
        game=builtin_game(),
        folder=tmp_path,
        room=tmp_path,
        inputs={"f16": replace(chain["f16"], path=tmp_path / "f16")},
    )
    with pytest.raises(PlanError, match=r"quantize: writes 2450\.0 GB to .*, [\d.]+ are free there; free some"):
        quantize.run(job)
