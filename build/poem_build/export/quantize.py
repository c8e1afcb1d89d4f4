"""An f16 GGUF → Q4_K_M and what else the recipe asks for, judged by the tensor types that are really in the file."""

from pathlib import Path

from poem_build.data.chats import read_chats
from poem_build.errors import ModelFileError
from poem_build.export import imatrix
from poem_build.export.quantization import K_QUANTS, quantize_file, tensor_types
from poem_build.export.quantized import QuantizeReport, Weighed, gate, not_k_quants
from poem_build.models import family
from poem_build.models.files import F16, IMATRIX, QUANTIZED, SERVED
from poem_build.models.load import load_tokenizer, to_ask
from poem_build.models.origin import read_origin, write_origin
from poem_build.plan.machine import check_disk
from poem_build.recipe.quantize import MIXTURES
from poem_build.store.stage import ALL, Job, Stage


def run(job: Job) -> QuantizeReport:
    """Quantize to each mixture of the recipe, exactest where the model's own training texts weigh most."""
    source, spec = job.path("f16", F16), job.recipe.quantize
    if (kinds := tensor_types(source)).keys() & K_QUANTS:
        raise ModelFileError(f"{source}: holds {dict(kinds)}; quantize from f16, bf16 or f32")
    size = source.stat().st_size
    check_disk(round(sum(size * MIXTURES[kind] / 16 for kind in spec.made)), "quantize", job.folder)
    weighed = _weigh(job, source) if spec.imatrix else None
    sizes = {"f16": size}
    for kind in spec.made:
        target = job.folder / QUANTIZED.format(kind)
        quantize_file(source, target, kind, job.folder / IMATRIX if weighed else None)
        sizes[kind] = target.stat().st_size
    found = tensor_types(job.folder / SERVED)
    write_origin(job.folder, read_origin(job.path("f16")))
    return QuantizeReport(
        tensors=dict(found),
        imatrix=weighed,
        not_k_quants=not_k_quants(found),
        bytes=sizes,
    )


def _weigh(job: Job, source: Path) -> Weighed:
    tokenizer = load_tokenizer(job.path("merged"))
    talk = family.family(job.recipe.base.family)
    chats = read_chats(job.path("dataset", "train.jsonl"))[: job.recipe.quantize.texts]
    texts = [talk.tokens(tokenizer, chat) for chat in chats]
    how = to_ask(job.recipe, job.path("merged"))
    tensors = imatrix.write(job.folder / IMATRIX, job.path("merged"), source, texts, how)
    return Weighed(texts=len(texts), tensors=tensors, asked=how.told)


STAGE = Stage(
    name="quantize",
    summary="Quantize to Q4_K_M, and to what else the recipe names.",
    makes="gguf",
    work=run,
    report=QuantizeReport,
    settings=lambda recipe: {"quantize": recipe.quantize.model_dump(mode="json", exclude={"compared"})},
    inputs={"f16": ALL, "merged": ALL, "dataset": ("train.jsonl",)},
    outside=family.templates,
    modules=family.modules,
    packages=("llama-cpp-python", "torch", "transformers"),
    gate=gate,
)
