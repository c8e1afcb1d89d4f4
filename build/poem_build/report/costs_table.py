"""A price list and the tokens of one poem → what the ways to a model cost: to set up, a hundred poems, break-even."""

from collections.abc import Iterator
from dataclasses import dataclass

from poem_build.teacher.money import Prices
from poem_build.teacher.protocol import Usage

_MILLION = 1e6
_HUNDRED = 100


@dataclass(frozen=True)
class Way:
    """A way to poems. `against` a cloud teacher that is asked for each it pays after so many of them."""

    name: str
    setup_usd: float
    hundred_usd: float
    break_even: int | None
    source: str


def ways(prices: Prices, model: str, one: Usage, kept: Usage, examples: int, epochs: int) -> list[Way]:
    """Every way that the list has prices for; the first, asking `model` each time, is what the others are held against.

    `one` is a poem's tokens, `kept` the same where the fixed prompt is kept, if it is long enough; a model is taught
    `examples` poems, `epochs` times.
    """
    price, source = prices.models[model], _source(prices, model)
    asked, batch = price.of(one) * _HUNDRED, price.of(one, batch=True) * _HUNDRED
    taught = batch / _HUNDRED * examples
    keeping = [_way(f"{model}, prompt kept", 0.0, price.of(kept) * _HUNDRED, asked, source)] if kept.cached else []
    return [
        Way(f"{model}, asked each time", 0.0, asked, None, source),
        *keeping,
        _way(f"{model}, in batches", 0.0, batch, asked, source),
        _way(f"a model here, taught {examples:,} poems", taught, 0.0, asked, "A model here: its electricity aside."),
        *(
            _way(name, taught + setup, hundred, asked, where)
            for name, setup, hundred, where in _others(prices, one, examples, epochs)
        ),
    ]


def _others(prices: Prices, one: Usage, examples: int, epochs: int) -> Iterator[tuple[str, float, float, str]]:
    tokens = (one.prompt + one.cached + one.output) * examples * epochs
    for name, tuning in prices.tuning.items():
        hundred = ((one.prompt + one.cached) * tuning.prompt + one.output * tuning.output) / _MILLION * _HUNDRED
        yield f"{name}, tuned", tokens * tuning.train / _MILLION, hundred, f"{tuning.source} ({tuning.dated})"
    for name, local in prices.local.items():
        hundred = local.hour * local.seconds / 3600 * _HUNDRED
        source = f"{local.source} ({local.dated})"
        yield f"{name} on a machine of one's own", local.hour * local.train_hours, hundred, source


def _way(name: str, setup: float, hundred: float, asked: float, source: str) -> Way:
    saved = (asked - hundred) / _HUNDRED
    return Way(name, setup, hundred, round(setup / saved) if saved > 0 else None, source)


def _source(prices: Prices, model: str) -> str:
    price = prices.models[model]
    return f"{price.source} ({price.dated})"


def render(found: list[Way], prices: Prices) -> str:
    """The ways as a table for the terminal, the sources below."""
    width = max(len(way.name) for way in found)
    lines = [f"{'':{width}}{'set-up':>12}{'100 poems':>14}{'pays after':>16}"]
    for way in found:
        pays = "–" if way.break_even is None else f"{way.break_even:,} poems" if way.break_even else "at once"
        yen = [f"¥{usd * prices.yen_per_dollar:,.1f}" for usd in (way.setup_usd, way.hundred_usd)]
        lines.append(f"{way.name:{width}}{yen[0]:>12}{yen[1]:>14}{pays:>16}")
    lines.append(f"A dollar is ¥{prices.yen_per_dollar} ({prices.yen_source}).")
    lines += [f"{source}" for source in dict.fromkeys(way.source for way in found)]
    missing = [kind for kind, entries in (("tuning", prices.tuning), ("local", prices.local)) if not entries]
    return "\n".join(lines + [f"[{kind}] has no prices: nothing is compared" for kind in missing])
