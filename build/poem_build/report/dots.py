"""Figures of several writers → lines of dots with their intervals, one line a name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poem_build.report.picture import INK, drawn

_ROW_IN = 0.27
_LETTER_IN = 0.135


@dataclass(frozen=True)
class Value:
    """A dot and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Dots:
    """The dots of one colour, a line each; None where a line has none."""

    label: str
    colour: str
    values: Sequence[Value | None]
    hollow: bool = False


def dot_plot(
    name: str, lines: Sequence[str], series: Sequence[Dots], *, percent: bool = True, whole: bool = False
) -> str:
    """The picture; of shares the axis ends with all, and begins with none or where the dots begin."""

    def draw(axes: Any) -> None:
        for n, one in enumerate(series):
            shift = (n - (len(series) - 1) / 2) * 0.3
            for line, dot in enumerate(one.values):
                if dot:
                    spread = [[max(0.0, dot.value - dot.low)], [max(0.0, dot.high - dot.value)]]
                    axes.errorbar(
                        [dot.value],
                        [line + shift],
                        xerr=spread,
                        fmt="o",
                        markersize=4.5,
                        color=one.colour,
                        markerfacecolor="white" if one.hollow else one.colour,
                        elinewidth=1.3,
                    )
        axes.set_yticks(range(len(lines)), lines, color=INK)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        if percent:
            begin = 0.0 if whole else _begin(series)
            ticks = [begin + (1 - begin) * part / 4 for part in range(5)]
            axes.set_xlim(begin - 0.02 * (1 - begin), 1 + 0.02 * (1 - begin))
            axes.set_xticks(ticks, [f"{100 * tick:.3g}%" for tick in ticks])

    left = 0.2 + _LETTER_IN * max(_width(part) for line in lines for part in line.split("\n"))
    return drawn(name, 0.5 + _ROW_IN * max(2, len(lines)), draw, left=left, bottom=0.3)


def _begin(series: Sequence[Dots]) -> float:
    """The tenth below all intervals; four fifths at most, so that nearly nothing does not look like much."""
    lows = [dot.low for one in series for dot in one.values if dot]
    return max(0.0, min(math.floor(10 * min(lows, default=0)) / 10, 0.8))


def _width(text: str) -> float:
    """In full-width letters."""
    return sum(0.55 if letter.isascii() else 1 for letter in text)
