"""A GGUF of which nothing is trained → the file that is served: the same tensors, with our template and origin."""

from pathlib import Path
from typing import Any

from poem.model_keys import PREFIX
from poem_build.engine.llama import Llama
from poem_build.errors import ModelFileError
from poem_build.export.gguf import introduce
from poem_build.export.quantization import quantize_file, tensor_types
from poem_build.models import family
from poem_build.models.converter import gguf, quiet
from poem_build.models.files import SERVED
from poem_build.models.mixture import file_type, readable, unfit
from poem_build.models.origin import Origin, read_origin, write_origin
from poem_build.recipe.quantize import SERVED_MIXTURE
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Job, Stage, sections


class AdoptReport(Report):
    """The mixture that the file came in, and the types of its tensors."""

    kind: str
    tensors: dict[str, int]
    bytes: int


def run(job: Job) -> AdoptReport:
    """Write the file anew with what it has to say of us, quantized if it was not.

    Raises `ModelFileError` for a mixture that is neither whole nor the one that is served, and for a model of another
    family.
    """
    given, target = job.recipe.base.gguf, job.folder / SERVED
    assert given is not None
    if reason := unfit(given):
        raise ModelFileError(f"{given}: {reason}")
    kind = file_type(given)
    llama = Llama(given, vocab_only=True)
    family.check_end(family.family(job.recipe.base.family), lambda text: llama.tokenize(text, bos=False), given)
    origin = write_origin(job.folder, read_origin(job.path("merged")))
    if kind == SERVED_MIXTURE:
        rewrite(given, target, job.recipe, origin)
    else:
        whole = job.folder / "whole.gguf"
        rewrite(given, whole, job.recipe, origin)
        quantize_file(whole, target, SERVED_MIXTURE)
        whole.unlink()
    return AdoptReport(kind=kind, tensors=dict(tensor_types(target)), bytes=target.stat().st_size)


def rewrite(given: Path, target: Path, recipe: Recipe, origin: Origin) -> None:
    """Copy the GGUF tensor by tensor; its name, template, sampling and origin become the recipe's."""
    library: Any = gguf()
    with readable(given), quiet():
        reader = library.GGUFReader(given)
        writer = library.GGUFWriter(
            target, reader.get_field("general.architecture").contents(), endianess=reader.endianess
        )
        ours = {library.Keys.General.NAME, library.Keys.Tokenizer.CHAT_TEMPLATE}
        for field in reader.fields.values():
            known = field.name.startswith(("GGUF.", "general.sampling.", PREFIX))
            if known or field.name in ours or field.name == "general.architecture":
                continue
            kind, *of = field.types
            writer.add_key_value(field.name, field.contents(), kind, sub_type=of[-1] if of else None)
        writer.add_name(recipe.name)
        writer.add_chat_template(family.family(recipe.base.family).chat_template)
        introduce(writer, recipe, origin)
        for tensor in reader.tensors:
            data = tensor.data
            writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in reader.tensors:
            writer.write_tensor_data(tensor.data, tensor_endianess=reader.endianess)
        writer.close()


STAGE = Stage(
    name="quantize",
    summary="Take the GGUF as it is, with our template.",
    makes="gguf",
    work=run,
    report=AdoptReport,
    settings=lambda recipe: {"name": recipe.name, **sections("base", "serve")(recipe)},
    inputs={"merged": ALL},
    outside=lambda recipe: {
        **family.templates(recipe),
        **({"GGUF": recipe.base.gguf} if recipe.base.gguf else {}),
    },
    modules=family.modules,
    packages=("llama-cpp-python",),
)
