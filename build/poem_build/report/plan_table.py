"""A plan → its tables for the terminal, and the same as JSON."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from poem_build.plan.machine import GIGA, Machine
from poem_build.plan.machines import Machines
from poem_build.plan.plan import Plan
from poem_build.plan.sizes import LOSS_SOURCE
from poem_build.recipe.presets import count
from poem_build.recipe.schema import Recipe
from poem_build.report.markdown import table
from poem_build.teacher.money import Prices

_LONG = 600
"""Seconds of an importance matrix from which on it is said what saves them."""
_CENT = 0.01
_WAITED = 60
"""Seconds that a service waits for a poem where POEM_DEADLINE_S says nothing else."""


def render(
    recipe: Recipe,
    made: Plan,
    machine: Machine,
    machines: Machines,
    prices: Prices,
    lacks: Sequence[str],
    nearest: str,
) -> str:
    """What the plan says; every figure is computed unless it names where it was measured."""
    how = made.how
    trained = "with an adapter that was trained before" if recipe.adapter else "not trained"
    if how:
        trained = f"{how.method} r {how.r}, {how.bits} bits, {how.micro_batch} × {how.tokens:,} tokens at once"
    stages = [
        [one.stage, {"gpu": "GPU", "ram": "memory"}[one.place], _gb(one.total), _parts(one.parts)] for one in made.needs
    ]
    kinds = [
        [one.mixture, _gb(one.bytes), f"{one.share:.0%}", _or(one.added_perplexity, "+{:.4f}".format)]
        for one in made.sizes
    ]
    terms = [[one.of, one.terms, one.ship, one.sell, one.name] for one in made.verdicts]
    parts = [
        f"{recipe.name}: {count(made.shape.parameters)} parameters, {trained}; download {_gb(made.download)} GB, disk "
        f"{_gb(made.disk)} GB. All figures are computed.",
        table(["stage", "where", "GB", "of it"], stages),
        *_here(recipe, made, machine),
        table(["quantized", "GB", "of FP32", "perplexity added"], kinds),
        f"Perplexity: {LOSS_SOURCE}.",
        *_elsewhere(made, machine, machines),
        *_tuning(made, prices),
        table(["of", "terms", "may be shipped", "may be sold", "to be named"], terms),
        "fits" if not lacks else f"does not fit: {'; '.join(lacks)}. {nearest}",
    ]
    return "\n\n".join(parts)


def _here(recipe: Recipe, made: Plan, machine: Machine) -> Iterator[str]:
    """What the machine's processor takes, and which settings save the most of it."""
    names = {
        "train": "training",
        "imatrix": f"the importance matrix, {made.texts} texts",
        "quantize": "quantizing",
        "poem": "a poem, its prompt aside",
    }
    if made.seconds:
        rows = [[names[what], _time(seconds)] for what, seconds in made.seconds.items()]
        yield table([f"on the processor, {_cores(machine)}", "takes"], rows)
    if made.seconds.get("poem", 0.0) > _WAITED:
        yield f"A service waits {_WAITED} s for a poem (POEM_DEADLINE_S), then answers without the model."
    weighing = made.seconds.get("imatrix", 0.0)
    if weighing > _LONG:
        fewer = int(made.texts * _LONG / weighing)
        saving = [f"`[quantize] texts = {fewer}` ({_time(_LONG)})"] if fewer else []
        saving += [] if recipe.quantize.bound else ["`[quantize] imatrix = false`"]
        if saving:
            yield f"Less time for the importance matrix: {' or '.join(saving)}."


def _elsewhere(made: Plan, machine: Machine, machines: Machines) -> Iterator[str]:
    """What each GPU of the list takes, and what that was reckoned by."""
    heads = ["GPU", "GB", "fits", "training", "costs", "importance matrix", "a poem", "dated"]
    rows = [
        [
            *(one.gpu, f"{one.memory:g}", "yes" if one.fits else "no"),
            *(_or(one.hours, lambda hours: _time(3600 * hours)), _or(one.usd, _usd)),
            *(_or(one.weigh_s, _time), _or(one.poem_s, _time), one.dated),
        ]
        for one in made.runs
    ]
    yield table(heads, rows)
    yield (
        "Fits: training and serving in its memory. Empty: nothing to do, no room, or the list (--machines) does not "
        f"tell. Training at {machines.efficiency:.0%} of its TFLOP/s ({machines.efficiency_source}); the importance "
        f"matrix with {_cores(machine)} beside it; a poem by the bytes that are read for it, its prompt aside."
    )
    if made.trained_on > 1:
        yield f"Training and its price are of {made.trained_on} such GPUs; what they tell each other is not counted."
    elif made.how and machine.gpus > 1:
        yield f'One of the {machine.gpus} GPUs trains; all do with [train] launch = "ddp", "zero2" or "zero3".'
    if made.how and made.how.offload != "none":
        yield f'What train.offload = "{made.how.offload}" moves at each step takes time that is not counted.'


def _tuning(made: Plan, prices: Prices) -> Iterator[str]:
    """What services take for the training, where there is one."""
    if costs := _tuned(made, prices):
        rows = [[who, _usd(cost), prices.tuning[who].dated] for who, cost in costs.items()]
        yield table(["tuning service", "costs", "dated"], rows)


def _tuned(made: Plan, prices: Prices) -> dict[str, float]:
    if not made.trained_tokens:
        return {}
    return {who: made.trained_tokens * one.train / 1e6 for who, one in prices.tuning.items()}


def as_json(
    recipe: Recipe, made: Plan, machine: Machine, prices: Prices, lacks: Sequence[str], nearest: str
) -> dict[str, Any]:
    """The same as one object."""
    return {
        "recipe": recipe.name,
        "parameters": made.shape.parameters,
        "fits": not lacks,
        "lacks": list(lacks),
        "nearest": nearest,
        "basis": "computed",
        "memory": [
            {"stage": one.stage, "place": one.place, "bytes": one.total, "parts": dict(one.parts)} for one in made.needs
        ],
        "download_bytes": made.download,
        "disk_bytes": made.disk,
        "trained_tokens": made.trained_tokens,
        "processor": {"cores": machine.cores, "seconds": dict(made.seconds)},
        "quantizations": [vars(one) for one in made.sizes],
        "trained_on": made.trained_on,
        "gpus": [vars(one) for one in made.runs],
        "tuning": _tuned(made, prices),
        "licences": [vars(one) for one in made.verdicts],
    }


def _cores(machine: Machine) -> str:
    return f"{machine.cores} core{'s' if machine.cores > 1 else ''}"


def _gb(size: int) -> str:
    return f"{size / GIGA:.3g}"


def _time(seconds: float) -> str:
    """In the unit that people say it in."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds:.2g} s"


def _usd(amount: float) -> str:
    return f"${amount:.2f}" if amount >= _CENT else f"under ${_CENT}"


def _or(value: float | None, form: Callable[[float], str]) -> str:
    return "" if value is None else form(value)


def _parts(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {_gb(value)}" for name, value in parts.items())
