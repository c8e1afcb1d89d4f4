"""A model folder → an f16 GGUF that tokenizes as transformers does and says which prompt it was trained on."""

from poem_build.export import parity
from poem_build.export.gguf import convert_folder
from poem_build.export.parity import Parity
from poem_build.models import family
from poem_build.models.converter import VERSION
from poem_build.models.files import F16
from poem_build.models.origin import read_origin, write_origin
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Finished, Job, Stage, part, sections


class ConvertReport(Report):
    """Whether llama.cpp reads texts as transformers does."""

    token_parity: Parity
    bytes: int


def run(job: Job) -> ConvertReport:
    """Convert the merged model, and compare token ids."""
    merged, path = job.path("merged"), job.folder / F16
    origin = write_origin(job.folder, read_origin(merged))
    convert_folder(merged, path, job.recipe, origin)
    found = parity.compare(merged, path, job.recipe, job.game)
    return ConvertReport(token_parity=found, bytes=path.stat().st_size)


def gate(finished: Finished) -> None:
    """Refuses on any text whose token ids differ."""
    parity.refuse(finished.artifact.report(ConvertReport).token_parity)


STAGE = Stage(
    name="convert",
    summary="Convert to an f16 GGUF; refuses if token ids differ.",
    makes="f16",
    work=run,
    report=ConvertReport,
    settings=lambda recipe: {
        **{"name": recipe.name, "converter": VERSION},
        **sections("base", "serve")(recipe),
        **part("gate", "token_parity_texts")(recipe),
    },
    inputs={"merged": ALL},
    reads_game=True,
    outside=family.templates,
    modules=family.modules,
    packages=("torch", "transformers", "llama-cpp-python"),
    gate=gate,
)
