"""A base's tensors and what an adapter changes of them → files of safetensors, a few rows in memory at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from poem_build.errors import ModelFileError
from poem_build.export.edits import Edit, Layout, by
from poem_build.models import tensors
from poem_build.models.tensors import FLOATS, Entry, Place
from poem_build.plan.machine import check_disk
from poem_build.progress import progress

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Source:
    """A tensor in the base's files, what the architecture calls it, and what is changed of it."""

    place: Place
    inner: str
    edit: Edit | None = None


@dataclass(frozen=True)
class Sources:
    """The base's tensors by the names in its files."""

    tensors: Mapping[str, Source]
    unplain: str = ""
    """Why peft has to merge into them; empty if it has not to."""


def sources(base: Path, layout: Layout) -> Sources:
    """The tensors that the architecture has, with the layout's edits.

    Raises `ModelFileError` for a tensor that the files lack: the library would make one up.
    """
    found = tensors.places(base)
    if not found:
        return Sources({}, "its base is not in safetensors")
    called, joined = _called(layout.model, found)
    tied = layout.model.all_tied_weights_keys
    there = set(called.values())
    pairs = {target: source for target, source in tied.items() if {target, source} & there}
    if lacking := layout.model.state_dict().keys() - there - pairs.keys() - set(pairs.values()):
        raise ModelFileError(f"{base}: {min(lacking)}: in none of its files ({len(lacking)} tensors); fetch it again")
    _refuse_unlike(layout.model, {inner: found[name] for name, inner in called.items() if inner not in joined})
    outer = {inner: name for name, inner in called.items()}
    twice = {outer[target]: outer[source] for target, source in pairs.items() if {target, source} <= there}
    for name, other in twice.items():
        if not same(found[name], found[other]):
            return Sources({}, f"the config ties {name} to {other}, which is another")
    kept = {
        name: Source(found[name], inner, layout.edits.get(inner)) for name, inner in called.items() if name not in twice
    }
    if beyond := sorted(layout.edits.keys() & joined | layout.edits.keys() - there):
        return Sources({}, f"{beyond[0]} lies in several tensors, or under the name of one that it is tied to")
    return Sources(kept)


def stream(found: Sources, dtype: str, target: Path) -> int:
    """Write the tensors to `target` in that number format, split as the base's files are.

    Returns how many tensors have become others. Raises `PlanError` if the disk has no room for them, `ModelFileError`
    for a tensor that is no longer finite.
    """
    files: dict[Path, list[str]] = {}
    for name, source in found.tensors.items():
        files.setdefault(source.place.file, []).append(name)
    entries = {name: _entry(name, source.place, dtype) for name, source in found.tensors.items()}
    size = sum(entry.size for entry in entries.values())
    check_disk(size, "merge", target)
    changed = 0
    for path, names in progress(files.items(), "merging files"):
        with (target / path.name).open("wb") as file:
            tensors.begin_file(file, [entries[name] for name in names])
            for name in names:
                changed += _write(file, found.tensors[name], entries[name].dtype)
    if [path.name for path in files] != [tensors.SINGLE]:
        tensors.write_index(target, {name: path.name for path, names in files.items() for name in names}, size)
    return changed


def same(one: Place, other: Place) -> bool:
    """Whether two tensors hold the same bytes."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(a == b for a, b in zip(one.blocks(), other.blocks(), strict=True))


def _refuse_unlike(model: Any, found: Mapping[str, Place]) -> None:
    wanted, config = model.state_dict(), Path(model.config.name_or_path).name
    tensors.refuse_no_floats({name: place for name, place in found.items() if wanted[name].is_floating_point()})
    for name, place in found.items():
        if place.shape != (shape := tuple(wanted[name].shape)):
            raise ModelFileError(
                f"{place.file}: {name} is {by(place.shape)}, {config}/config.json wants {by(shape)}; fetch both again"
            )


def _called(model: Any, names: Mapping[str, Place]) -> tuple[dict[str, str], frozenset[str]]:
    """What the architecture calls the tensors of the files that it has, and which it makes of several."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    rules: Sequence[Any] = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if not isinstance(rule, WeightRenaming)]
    known, prefix = model.state_dict(), model.base_model_prefix
    called = {name: rename_source_key(name, renamings, converters, prefix, known) for name in names}
    here = {name: inner for name, (inner, _) in called.items() if inner in known}
    return here, frozenset(inner for inner, pattern in called.values() if pattern is not None)


def _entry(name: str, place: Place, dtype: str) -> Entry:
    if place.dtype not in FLOATS or FLOATS[place.dtype] == dtype:
        return Entry(name, place.dtype, place.shape, place.size)
    kind = next(kind for kind, told in FLOATS.items() if told == dtype)
    return Entry(name, kind, place.shape, place.size * tensors.width(kind) // tensors.width(place.dtype))


def _write(file: IO[bytes], source: Source, kind: str) -> bool:
    """Write the tensor; whether it is another than before."""
    if source.edit is None and source.place.dtype == kind:
        for block in source.place.blocks():
            file.write(block)
        return False
    import torch

    changed = False
    for before, after in _edited(source, getattr(torch, FLOATS[kind])):
        if not after.isfinite().all():
            raise ModelFileError(
                f"{source.place.file}: {source.inner}: NaN or infinite once merged; train or blend the adapter "
                "again, or fetch the base again if it is so before"
            )
        changed = changed or not torch.equal(before, after)
        file.write(after.contiguous().view(torch.uint8).numpy().data)
    return changed


def _edited(source: Source, dtype: Any) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
    for first, part in source.place.parts():
        before = part.to(dtype)
        yield before, source.edit.edit(before, first) if source.edit else before
