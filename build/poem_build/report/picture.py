"""A drawing → an SVG that stands in a page's own text: its letters are the page's, its names nobody else's.

The same figures give the same bytes. Letters stay letters, so a machine that draws needs no Japanese font; margins are
given, as matplotlib cannot measure letters that it has none of.
"""

import re
import warnings
from collections.abc import Callable
from io import StringIO
from typing import Any

INK, SOFT, LINE = "#23201b", "#6d655a", "#ddd3c1"
NOW, FORMER, THIRD, FAULT, GOOD = "#1f4e6b", "#8f7136", "#8a8378", "#8c2f22", "#3d6b4f"
WIDTH_IN = 4.6
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


def drawn(name: str, height: float, draw: Callable[[Any], None], *, left: float = 0.55, bottom: float = 0.5) -> str:
    """What `draw` does to the axes, as an element; heights and margins in inches, `name` unique on the page."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    out = StringIO()
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Figure(figsize=(WIDTH_IN, height))
        figure.subplots_adjust(left=left / WIDTH_IN, right=1 - 0.15 / WIDTH_IN, bottom=bottom / height)
        figure.subplots_adjust(top=1 - 0.12 / height)
        draw(figure.subplots())
        figure.patch.set_visible(False)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(name, out.getvalue())


def _inline(name: str, svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: (\S+) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"| xmlns(?::xlink)?="[^"]*"| version="1.1"', "", svg, count=5)
    return svg.replace("xlink:href", "href").replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
