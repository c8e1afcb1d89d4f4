"""A base and its adapter → one model folder, in the base's own number format.

peft's default merge: (W.float() + (B.float() @ A.float()) * lora_alpha / r).to(dtype of W).
"""

import shutil
from collections.abc import Sequence
from typing import Any

from poem_build.models import family
from poem_build.models.files import CHAT_TEMPLATE, LICENCES
from poem_build.models.load import load_adapted, load_model, load_tokenizer
from poem_build.models.origin import read_origin, write_origin
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Job, Stage


class MergeReport(Report):
    """The number format of the merged weights."""

    dtype: str


def run(job: Job) -> MergeReport:
    """Merge; the folder holds weights, config, the base's tokenizer and licence files untouched, and our template."""
    base, adapter, talk = job.path("base"), job.path("adapter"), family.family(job.recipe.base.family)
    merged = load_adapted(load_model(base, "auto"), adapter).merge_and_unload()
    _stop_at(merged.generation_config, load_tokenizer(base), talk.stop)
    merged.save_pretrained(job.folder)
    for pattern in (*talk.tokenizer_files, *LICENCES):
        for path in base.glob(pattern):
            shutil.copy(path, job.folder)
    (job.folder / CHAT_TEMPLATE).write_text(talk.chat_template, "utf-8")
    write_origin(job.folder, read_origin(adapter))
    return MergeReport(dtype=str(merged.dtype).removeprefix("torch."))


STAGE = Stage(
    name="merge",
    summary="Merge base and adapter.",
    makes="merged",
    work=run,
    report=MergeReport,
    inputs={"base": ALL, "adapter": ALL},
    outside=family.templates,
    modules=family.modules,
    packages=("torch", "transformers", "peft"),
)


def _stop_at(generation: Any, tokenizer: Any, stop: Sequence[str]) -> None:
    """`generate` ends at the family's end of turn as well as at the base's own end of text."""
    known = generation.eos_token_id
    ends = {*(known if isinstance(known, list) else [known]), *tokenizer.convert_tokens_to_ids(list(stop))} - {None}
    generation.eos_token_id = sorted(ends) if len(ends) > 1 else ends.pop()
