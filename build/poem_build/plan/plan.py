"""A recipe, its shape and a machine → what making and serving its model takes, and whether it fits."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from poem_build.models.device import device_of
from poem_build.plan import memory
from poem_build.plan.lengths import Lengths
from poem_build.plan.licence import Verdict, verdicts
from poem_build.plan.machine import Machine
from poem_build.plan.machines import Machines, Run, runs
from poem_build.plan.memory import Need, Training
from poem_build.plan.sizes import Size, size, table
from poem_build.recipe.quantize import SERVED_MIXTURE
from poem_build.recipe.schema import Recipe
from poem_build.recipe.shape import Shape
from poem_build.recipe.training import BITS_OF

_PASSES = {"full": 6}
"""Operations a weight and token: two forward, two for the inputs' gradients, two for its own, if it is trained."""


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
    trained_tokens: int
    verdicts: tuple[Verdict, ...]


def plan(recipe: Recipe, shape: Shape, lengths: Lengths, machine: Machine, machines: Machines) -> Plan:
    """The recipe's plan for the machine."""
    how = training_of(recipe, lengths, gpu=machine.vram is not None)
    needs = tuple(needs_of(recipe, shape, how, lengths, machine))
    on_gpu = training_of(recipe, lengths, gpu=True)
    gpu_needs = memory.training_needs(shape, on_gpu, "gpu", machine.gpus) if on_gpu else []
    served = memory.serve_need(shape, recipe.serve.num_ctx, "gpu", SERVED_MIXTURE)
    tokens = lengths.example * lengths.examples * (recipe.train.epochs if recipe.train else 0)
    passes = _PASSES.get(on_gpu.method, 4) + 2 * on_gpu.checkpointing if on_gpu else 0
    read = size(shape, SERVED_MIXTURE) * shape.active / shape.parameters * lengths.answer
    largest = max(one.total for one in (*gpu_needs, served) if one.place == "gpu")
    return Plan(
        shape=shape,
        how=how,
        needs=needs,
        download=0 if recipe.base.path or recipe.base.gguf else 2 * shape.parameters,
        disk=disk_of(recipe, shape, how),
        sizes=tuple(table(shape)),
        runs=tuple(runs(machines, largest, float(passes) * tokens * shape.active, read)),
        trained_tokens=tokens,
        verdicts=tuple(verdicts(recipe)),
    )


def training_of(recipe: Recipe, lengths: Lengths, *, gpu: bool) -> Training | None:
    """How the recipe trains; None where nothing is trained."""
    spec = recipe.train
    if spec is None:
        return None
    dtype = "bfloat16" if gpu else device_of(recipe.model_copy(update={"device": "cpu"})).dtype
    return Training(
        method=spec.method,
        bits=spec.weight_bits,
        number=4 if dtype == "float32" else 2,
        r=spec.r,
        dropout=bool(spec.lora_dropout),
        micro_batch=spec.micro_batch or spec.batch,
        checkpointing=spec.gradient_checkpointing,
        offload=spec.offload,
        tokens=lengths.example,
        answer=lengths.answer,
        new_tokens=len(spec.new_tokens) * 3,
        launch=spec.launch,
    )


def needs_of(recipe: Recipe, shape: Shape, how: Training | None, lengths: Lengths, machine: Machine) -> Iterator[Need]:
    """What each stage has in memory."""
    place: memory.Place = "ram" if machine.vram is None else "gpu"
    if how:
        yield from memory.training_needs(shape, how, place, machine.gpus)
        yield memory.merge_need(shape)
    yield memory.convert_need(shape)
    yield memory.quantize_need(shape, recipe.quantize.texts if recipe.quantize.imatrix else 0, lengths.example)
    yield memory.serve_need(shape, recipe.serve.num_ctx, place, SERVED_MIXTURE)


def disk_of(recipe: Recipe, shape: Shape, how: Training | None) -> int:
    """Bytes of base, merged model, f16 and the quantized files, and of two checkpoints of what is trained."""
    whole = 2 * shape.parameters
    trained = shape.adapter_parameters(how.r) if how and how.method != "full" else shape.parameters
    nominal = sum(size(shape, kind) if kind in _TOLD else whole for kind in recipe.quantize.made)
    return whole * (3 if how else 2) + nominal + (2 * 12 * trained if how else 0)


_TOLD = frozenset({"F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"})


def nearer(how: Training) -> Iterator[tuple[str, Training]]:
    """The settings that take less, one more at a time, as `[train]` says them."""
    fewer = [how.micro_batch >> n for n in range(1, how.micro_batch.bit_length())]
    narrower = [bits for bits in BITS_OF[how.method] if bits < how.bits]
    changes: list[tuple[str, dict[str, Any]]] = [
        *((f"micro_batch = {size}", {"micro_batch": size}) for size in fewer),
        ("gradient_checkpointing = true", {"checkpointing": True}),
        *((f"bits = {bits}", {"bits": bits}) for bits in narrower),
    ]
    if 4 not in BITS_OF[how.method]:
        changes.append(('bits = 4, method = "qlora"', {"bits": 4, "method": "qlora"}))
    said: dict[str, str] = {}
    for text, change in changes:
        if (now := replace(how, **change)) != how:
            how = now
            said[text.split(" ")[0]] = text
            yield ", ".join(said.values()), how


def settings_that_fit(made: Plan, machine: Machine) -> str:
    """The least change of `[train]` with which all would fit; empty if none does."""
    if made.how is None:
        return ""
    others = [one for one in made.needs if one.stage != "train"]
    if machine.lacks(others, made.disk):
        return ""
    place: memory.Place = "ram" if machine.vram is None else "gpu"
    for text, how in nearer(made.how):
        if place == "ram" and (how.bits == 8 or how.method == "unsloth"):  # a GPU's alone
            continue
        if not machine.lacks(memory.training_needs(made.shape, how, place, machine.gpus), made.disk):
            return text
    return ""
