"""A recipe, its shape and a machine → what making and serving its model takes, and whether it fits."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from poem_build.models import architectures, mixture
from poem_build.models.device import PLAINLY, Asked, Device, asked_on, device_of
from poem_build.plan import memory
from poem_build.plan.lengths import Lengths
from poem_build.plan.licence import Verdict, verdicts
from poem_build.plan.machine import Machine
from poem_build.plan.machines import Machines, Run, Work, on_processor, runs
from poem_build.plan.memory import Need, Training
from poem_build.plan.sizes import Size, size, table
from poem_build.plan.work import is_given_gguf, is_served_as_it_is, texts_of, trained_examples, work_of
from poem_build.recipe.quantize import SERVED_MIXTURE
from poem_build.recipe.schema import Recipe
from poem_build.recipe.shape import Shape
from poem_build.recipe.training import BITS_OF

_GPU = Device(kind="cuda", name="the GPU", dtype="bfloat16", reason="planned for")
CHECKPOINTS = 4
"""Of a training on disk at once: the best, the newest two, and the one that is being written."""
_DONE_BY = {"train": "train", "imatrix": "quantize", "poem": "serve"}
"""Work, and the stage whose place tells who does it; quantizing is always the processor's."""


@dataclass(frozen=True)
class Plan:
    """What it takes; all computed."""

    shape: Shape
    how: Training | None
    needs: tuple[Need, ...]
    download: int
    disk: int
    sizes: tuple[Size, ...]
    runs: tuple[Run, ...]
    trained_on: int
    """GPUs of a kind that train in `runs`."""
    seconds: Mapping[str, float]
    """Of what is done by the machine's processor."""
    texts: int
    """Of the importance matrix; 0 where there is none."""
    trained_tokens: int
    verdicts: tuple[Verdict, ...]
    refused: tuple[str, ...]
    """Why the chain could not be gone through however much memory there were."""

    def lacks(self, machine: Machine) -> list[str]:
        """What keeps it from being made on the machine, each in a few words."""
        return [*self.refused, *machine.lacks(self.needs, self.disk)]


def plan(
    recipe: Recipe, shape: Shape, lengths: Lengths, machine: Machine, machines: Machines, announced: int = 0
) -> Plan:
    """The recipe's plan for the machine; `announced` are the bytes of its base, where the hub has told them."""
    how = training_of(recipe, lengths, gpu=machine.vram is not None, native=machine.native)
    needs = tuple(needs_of(recipe, shape, how, lengths, machine))
    on_gpu = training_of(recipe, lengths, gpu=True)
    gpu_needs = memory.training_needs(shape, on_gpu, "gpu", machine.gpus) if on_gpu else []
    trained_on = memory.processes(on_gpu, machine.gpus) if on_gpu else 1
    room = {
        "train": max((one.total for one in gpu_needs if one.place == "gpu"), default=0),
        "weigh": memory.asked_need("quantize", shape, lengths, Asked(_GPU.torch, _format(recipe, _GPU.dtype))).total,
        "serve": memory.serve_need(shape, recipe.serve.num_ctx, "gpu", SERVED_MIXTURE).total,
    }
    work = work_of(recipe, shape, on_gpu, lengths)
    return Plan(
        shape=shape,
        how=how,
        needs=needs,
        download=0 if recipe.base.path or recipe.base.gguf else announced or 2 * shape.parameters,
        disk=disk_of(recipe, shape, how, announced or None),
        sizes=tuple(table(shape)),
        runs=tuple(runs(machines, work, room, machine.cores, trained_on)),
        trained_on=trained_on,
        seconds=seconds_here(machines, work, needs, machine.cores),
        texts=texts_of(recipe, lengths),
        trained_tokens=lengths.example * trained_examples(recipe, lengths),
        verdicts=tuple(verdicts(recipe)),
        refused=tuple(refusals(recipe, shape, gpu=machine.vram is not None)),
    )


def refusals(recipe: Recipe, shape: Shape, *, gpu: bool) -> Iterator[str]:
    """What a stage would refuse, whatever the machine has besides a GPU. What a GGUF calls its shape is llama.cpp's."""
    if not recipe.base.gguf and (reason := architectures.unfit(shape.architecture)):
        yield f"{shape.architecture}: {reason}"
    spec, given = recipe.train, recipe.base.gguf
    if given and is_given_gguf(recipe) and (reason := mixture.unfit(given)):
        yield f"{given}: {reason}"
    if spec and not recipe.adapter and gpu and spec.unmoved:
        yield spec.unmoved
    if spec and not recipe.adapter and not gpu:
        if spec.method == "unsloth":
            yield "train.method: unsloth needs an NVIDIA GPU; qlora and lora do not"
        if spec.launch.startswith("zero"):
            yield f'train.launch: {spec.launch} needs GPUs; give launch = "single"'


def training_of(recipe: Recipe, lengths: Lengths, *, gpu: bool, native: str = _GPU.dtype) -> Training | None:
    """How the recipe trains on the processor, or on a GPU by its native number format where the recipe has none.

    None where nothing is trained, or was before.
    """
    spec = recipe.train
    if spec is None or recipe.adapter:
        return None
    dtype = _format(recipe, native) if gpu else device_of(recipe.model_copy(update={"device": "cpu"})).dtype
    return Training.of(spec, dtype, lengths.example, lengths.answer)


def _format(recipe: Recipe, native: str) -> str:
    """The number format that a GPU trains in."""
    return recipe.train.dtype if recipe.train and recipe.train.dtype != "auto" else native


def needs_of(recipe: Recipe, shape: Shape, how: Training | None, lengths: Lengths, machine: Machine) -> Iterator[Need]:
    """What each stage has in memory."""
    place: memory.Place = "ram" if machine.vram is None else "gpu"
    if recipe.base.gguf and not is_given_gguf(recipe):
        yield memory.dequantize_need(shape)
    if how:
        yield from memory.training_needs(shape, how, place, machine.gpus)
    if recipe.train:
        yield memory.merge_need(shape)
    if is_given_gguf(recipe):
        yield memory.copy_need() if is_served_as_it_is(recipe.base.gguf) else memory.round_need(shape)
    else:
        yield memory.convert_need(shape)
        on = _GPU.model_copy(update={"dtype": _format(recipe, machine.native)})
        asked = PLAINLY if machine.vram is None else asked_on(on, shape.parameters, machine.vram)
        weighed = texts_of(recipe, lengths)
        yield memory.asked_need("quantize", shape, lengths, asked) if weighed else memory.round_need(shape)
        if recipe.train:
            yield memory.asked_need("fidelity", shape, lengths, asked)
    yield memory.serve_need(shape, recipe.serve.num_ctx, place, SERVED_MIXTURE)


def disk_of(recipe: Recipe, shape: Shape, how: Training | None, base: int | None = None) -> int:
    """Bytes of base, merged model, f16 and the quantized files, and of the checkpoints of what is trained.

    The base is reckoned with 16 bits a weight unless its bytes are given.

    Of a GGUF of which nothing is trained: of the one file that is served, and of a copy that is rounded to it.
    """
    if is_given_gguf(recipe):
        served = size(shape, SERVED_MIXTURE)
        return served if is_served_as_it_is(recipe.base.gguf) else served + size(shape, "F16")
    whole = 2 * shape.parameters
    trained = shape.adapter_parameters(how.r) if how and how.method != "full" else shape.parameters
    quantized = sum(size(shape, kind) for kind in recipe.quantize.made)
    brought = whole if base is None else base
    return brought + whole * (2 if recipe.train else 1) + quantized + (CHECKPOINTS * 12 * trained if how else 0)


def seconds_here(machines: Machines, work: Work, needs: Sequence[Need], cores: int) -> Mapping[str, float]:
    """What the machine's processor takes for what no GPU does; nothing where the list does not tell of one."""
    if machines.processor is None:
        return {}
    by_gpu = {one.stage for one in needs if one.place == "gpu"}
    taken = on_processor(machines.processor, work, cores)
    return {what: seconds for what, seconds in taken.items() if _DONE_BY.get(what) not in by_gpu}


def lighter(how: Training, place: memory.Place) -> Iterator[dict[str, Any]]:
    """Changes of `[train]` that take less, each by itself; first those that change nothing of the result."""
    if how.micro_batch > 1:
        yield {"micro_batch": how.micro_batch // 2}
    if not how.gradient_checkpointing:
        yield {"gradient_checkpointing": True}
    if how.method == "full":
        yield {"method": "lora"}
    elif how.bits > 4:
        allowed = (4, 8) if place == "gpu" else (4,)  # eight are a GPU's alone
        narrower = [bits for bits in BITS_OF[how.method] if bits < how.bits and bits in allowed]
        yield {"bits": max(narrower)} if narrower else {"method": "qlora", "bits": 4}


def nearer(how: Training, place: memory.Place) -> Iterator[tuple[str, Training]]:
    """The settings that take less, one more at a time, as `[train]` says them."""
    said: dict[str, Any] = {}
    while change := next(lighter(how, place), None):
        how = replace(how, **change)
        said |= change
        yield worded(said), how


def worded(change: Mapping[str, Any]) -> str:
    """Settings as TOML says them, in one line."""
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in change.items())


def settings_that_fit(recipe: Recipe, made: Plan, machine: Machine) -> str:
    """The least change of `[train]`, or else of `[quantize]`, with which all would fit; empty if none does."""
    if made.refused:
        return ""
    others = [one for one in made.needs if one.stage != "train"]
    if made.how and not machine.lacks(others, made.disk):
        place: memory.Place = "ram" if machine.vram is None else "gpu"
        for text, how in nearer(made.how, place):
            if not machine.lacks(memory.training_needs(made.shape, how, place, machine.gpus), made.disk):
                return f"[train] {text}"
    if made.texts and not recipe.quantize.bound:
        unweighed = [memory.round_need(made.shape) if one.stage == "quantize" else one for one in made.needs]
        if not machine.lacks(unweighed, made.disk):
            return "[quantize] imatrix = false"
    return ""
