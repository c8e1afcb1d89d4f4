"""A base of which nothing is trained → what the later stages find where a merged model lies."""

import shutil

from poem_build.models import family
from poem_build.models.files import CHAT_TEMPLATE, LICENCES
from poem_build.models.origin import FILE, read_origin, write_origin
from poem_build.store.artifact import Report
from poem_build.store.folder import MANIFEST, link
from poem_build.store.stage import ALL, Job, Stage


class TakeReport(Report):
    """How many files there are."""

    files: int


def run(job: Job) -> TakeReport:
    """The base's files, not copied where the disk can link them, with our template in place of theirs."""
    base, talk = job.path("base"), family.family(job.recipe.base.family)
    for path in base.iterdir():
        if path.is_file() and path.name not in (MANIFEST, CHAT_TEMPLATE, FILE):
            link(path, job.folder / path.name)
    (job.folder / CHAT_TEMPLATE).write_text(talk.chat_template, "utf-8")
    return _report(job)


def run_terms(job: Job) -> TakeReport:
    """Of a GGUF file that is served as it is: the terms beside it."""
    gguf = job.recipe.base.gguf
    assert gguf is not None
    for pattern in LICENCES:
        for path in gguf.parent.glob(pattern):
            shutil.copy(path, job.folder)
    return _report(job)


STAGE = Stage(
    name="merge",
    summary="Take the base as it is.",
    makes="merged",
    work=run,
    report=TakeReport,
    inputs={"base": ALL, "dataset": ("origin.json",)},
    outside=family.templates,
    modules=family.modules,
)
TERMS = Stage(
    name="merge",
    summary="Take the terms of the GGUF.",
    makes="merged",
    work=run_terms,
    report=TakeReport,
    inputs={"dataset": ("origin.json",)},
    outside=lambda recipe: {"GGUF": recipe.base.gguf} if recipe.base.gguf else {},
)


def _report(job: Job) -> TakeReport:
    write_origin(job.folder, read_origin(job.path("dataset")))
    return TakeReport(files=sum(1 for _ in job.folder.iterdir()))
