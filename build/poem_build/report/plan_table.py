"""A plan → its tables for the terminal, and the same as JSON."""

from collections.abc import Sequence
from typing import Any

from poem_build.plan.machine import GIGA
from poem_build.plan.plan import Plan
from poem_build.plan.sizes import LOSS_SOURCE
from poem_build.report.markdown import table
from poem_build.teacher.money import Prices


def render(name: str, made: Plan, prices: Prices, lacks: Sequence[str], nearest: str) -> str:
    """What the plan says; every figure is computed unless it names where it was measured."""
    how = made.how
    trained = "not trained"
    if how:
        trained = f"{how.method} r {how.r}, {how.bits} bits, {how.micro_batch} × {how.tokens:,} tokens at once"
    stages = [
        [one.stage, {"gpu": "GPU", "ram": "memory"}[one.place], _gb(one.total), _parts(one.parts)] for one in made.needs
    ]
    kinds = [
        [one.mixture, _gb(one.bytes), f"{one.share:.0%}", _or(one.added_perplexity, "+{:.4f}")] for one in made.sizes
    ]
    gpus = [
        [
            *(one.gpu, f"{one.memory:g}", "yes" if one.fits else "no"),
            *(_or(one.hours, "{:.1f}"), _or(one.usd, "${:.2f}"), _or(one.poem_s, "{:.1f}"), one.dated),
        ]
        for one in made.runs
    ]
    services = [[who, f"${made.trained_tokens * one.train / 1e6:.2f}", one.dated] for who, one in prices.tuning.items()]
    terms = [[one.of, one.terms, one.ship, one.sell, one.name] for one in made.verdicts]
    parts = [
        f"{name}: {made.shape.parameters / GIGA:.3g}B parameters, {trained}; download {_gb(made.download)} GB, disk "
        f"{_gb(made.disk)} GB. All figures are computed.",
        table(["stage", "where", "GB", "of it"], stages),
        table(["quantized", "GB", "of FP32", "perplexity added"], kinds),
        f"Perplexity: {LOSS_SOURCE}.",
        table(["GPU", "GB", "fits", "hours", "costs", "s a poem", "dated"], gpus),
        table(["tuning service", "costs", "dated"], services),
        table(["of", "terms", "may be shipped", "may be sold", "to be named"], terms),
        "fits" if not lacks else f"does not fit: {'; '.join(lacks)}. {nearest}",
    ]
    return "\n\n".join(parts)


def as_json(name: str, made: Plan, prices: Prices, lacks: Sequence[str], nearest: str) -> dict[str, Any]:
    """The same as one object."""
    return {
        "recipe": name,
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
        "quantizations": [vars(one) for one in made.sizes],
        "gpus": [vars(one) for one in made.runs],
        "tuning": {who: made.trained_tokens * one.train / 1e6 for who, one in prices.tuning.items()},
        "licences": [vars(one) for one in made.verdicts],
    }


def _gb(size: int) -> str:
    return f"{size / GIGA:.3g}"


def _or(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _parts(parts: Any) -> str:
    return ", ".join(f"{name} {_gb(value)}" for name, value in parts.items())
