"""A base and its adapter → one model folder, in the base's own number format.

peft's default merge, (W.float() + (B.float() @ A.float()) * lora_alpha / r).to(dtype of W), a few rows at a time; what
that formula does not say (DoRA, an adapted head, …) is peft's to merge, with the whole model in memory.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from poem_build.errors import ModelFileError
from poem_build.export import edits, streaming
from poem_build.export.of_base import refuse_other_base
from poem_build.models import family, tensors
from poem_build.models.files import CHAT_TEMPLATE, LICENCES
from poem_build.models.load import is_whole_model, load_adapted, load_model, load_tokenizer, skeleton, translated
from poem_build.models.origin import read_origin, write_origin
from poem_build.plan.machine import check_disk, check_memory
from poem_build.plan.memory import LIBRARIES, PEFT
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Job, Stage


class MergeReport(Report):
    """The number format of the merged weights, how many tensors have changed, and why peft merged them if it did."""

    version: ClassVar[int] = 2
    dtype: str
    changed: int | None
    """None where that cannot be told."""
    by_peft: str = ""


def run(job: Job) -> MergeReport:
    """Merge; the folder holds weights, config, the base's tokenizer and licence files untouched, and our template."""
    base, adapter, talk = job.path("base"), job.path("adapter"), family.family(job.recipe.base.family)
    refuse_other_base(job.inputs["base"], adapter)
    merged = merge_weights(base, adapter, job.folder)
    generation = merged.model.generation_config
    _stop_at(generation, load_tokenizer(base), talk.stop)
    generation.to_json_file(job.folder / "generation_config.json")  # `save_pretrained` refuses some
    for pattern in (*talk.tokenizer_files, *LICENCES):
        for path in base.glob(pattern):
            shutil.copy(path, job.folder)
    (job.folder / CHAT_TEMPLATE).write_text(talk.chat_template, "utf-8")
    write_origin(job.folder, read_origin(adapter))
    return merged.report


@dataclass(frozen=True)
class Merged:
    """What was written, and the architecture, without weights."""

    model: Any
    report: MergeReport


def merge_weights(base: Path, adapter: Path, target: Path) -> Merged:
    """Write weights and config of the base with its adapter, or those that were trained instead of one.

    Raises `ModelFileError` for an adapter of another base, a tensor that is missing, and an adapter that changes
    nothing; `PlanError` if disk or memory have no room.
    """
    if is_whole_model(adapter):
        return _copied(base, adapter, target)
    layout = edits.lay_out(base, adapter)
    model, found = layout.model, streaming.sources(base, layout)
    dtype = str(model.dtype).removeprefix("torch.")
    if unplain := layout.unplain or found.unplain:
        changed = _by_peft(base, adapter, model, target, unplain)
    else:
        changed = streaming.stream(found, dtype, target)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(target)
    _refuse_unchanged(adapter, changed)
    return Merged(model, MergeReport(dtype=dtype, changed=changed, by_peft=unplain))


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


def _copied(base: Path, trained: Path, target: Path) -> Merged:
    """Weights that were all trained are the merged ones.

    Raises `ModelFileError` if they are not those that the base's architecture has.
    """
    model = skeleton(base)
    found = streaming.sources(trained, edits.Layout(model)).tensors.values()
    check_disk(sum(one.place.size for one in found), "merge", target)
    for pattern in ("*.safetensors", "*.safetensors.index.json", "config.json"):
        for path in trained.glob(pattern):
            shutil.copy(path, target)
    changed = _changed(base, target)
    _refuse_unchanged(trained, changed)
    return Merged(model, MergeReport(dtype=str(model.dtype).removeprefix("torch."), changed=changed))


def _refuse_unchanged(adapter: Path, changed: int | None) -> None:
    if changed == 0:
        raise ModelFileError(f"{adapter}: changes nothing of its base: no weight is another; train it again, longer")


def _changed(base: Path, target: Path) -> int | None:
    """How many tensors have become others; None where that cannot be told."""
    before, after = tensors.places(base), tensors.places(target)
    if not before:
        return None
    return sum(name not in before or not streaming.same(before[name], place) for name, place in after.items())


def _by_peft(base: Path, adapter: Path, shape: Any, target: Path, unplain: str) -> int | None:
    """The whole model in memory; how many tensors have become others."""
    sizes = [tensor.numel() * tensor.element_size() for tensor in shape.state_dict().values()]
    added = sum(place.size for place in tensors.in_file(adapter / edits.WEIGHTS).values())
    largest = 2 * max(tensor.numel() * 4 for tensor in shape.state_dict().values())
    remedy = "merge it on a larger machine, or train a plain LoRA, which needs next to none"
    check_memory(sum(sizes) + added + largest + LIBRARIES + PEFT, f"merge by peft ({unplain})", remedy)
    check_disk(sum(sizes), "merge", target)
    with translated(adapter):
        merged = load_adapted(load_model(base, "auto"), adapter).merge_and_unload()
        merged.save_pretrained(target)
    return _changed(base, target)


def _stop_at(generation: Any, tokenizer: Any, stop: Sequence[str]) -> None:
    """`generate` ends at the family's end of turn as well as at the base's own end of text."""
    known = generation.eos_token_id
    ends = {*(known if isinstance(known, list) else [known]), *tokenizer.convert_tokens_to_ids(list(stop))} - {None}
    generation.eos_token_id = sorted(ends) if len(ends) > 1 else ends.pop()
