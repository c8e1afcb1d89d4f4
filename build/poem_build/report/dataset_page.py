"""What was found in a data set → a page with plots, in one file."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment

from poem_build.data.checks import Findings
from poem_build.store.folder import write_text

_SHOWN = 200
"""Problems on the page; all are in the JSON beside it."""
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Data set</title>
<style>
body { font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; line-height: 1.5 }
table { border-collapse: collapse } td, th { border: 1px solid #ccc; padding: .2rem .6rem; text-align: left }
img { max-width: 100% }
</style>
<h1>Data set</h1>
<table><tr><th>file<th>shape<th>chats<th>broken lines<th>tokens, about</tr>
{% for path, one in files.items() %}<tr><td>{{ path }}<td>{{ one.shape }}<td>{{ one.chats }}<td>{{ one.broken }}
<td>{{ one.tokens_about }}</tr>{% endfor %}</table>
<h2>Problems</h2>
{% if not counts %}<p>None.</p>{% endif %}
<ul>{% for kind, count in counts.items() %}<li>{{ kind }}: {{ count }}{% endfor %}</ul>
<table>{% for one in problems[:shown] %}<tr><td>{{ one.kind }}<td>{{ one.where }}<td>{{ one.what }}</tr>{% endfor %}
</table>
<h2>Variety</h2>
{% if variety %}
<p>{{ variety.poems }} poems; {{ "%.1f" | format(100 * variety.distinct_openings) }} % of their openings differ;
distinct 2, 3 and 4 characters: {{ variety.distinct.values() | join(", ") }}.</p>
{% else %}
<p>No poem could be read.</p>{% endif %}
{% for name, picture in pictures.items() %}<h3>{{ name }}</h3><img alt="{{ name }}"
src="data:image/svg+xml;base64,{{ picture }}">{% endfor %}
{% if variety %}<h3>Openings, endings and phrases that come most often</h3>
<table><tr><th>openings<th>endings<th>phrases</tr><tr>
{% for some in (variety.openings, variety.endings, variety.tics) %}<td>{% for text, n in some.items() %}
{{ n }} {{ text }}<br>{% endfor %}{% endfor %}</tr></table>{% endif %}
</html>
"""


def write_page(path: Path, found: Findings) -> None:
    """Write the page."""
    told = found.as_json()
    pictures = {"Characters of a poem": _lengths(found.lengths), "Problems": _counts(told["counts"])}
    page = Environment(autoescape=True).from_string(_PAGE)
    drawn = {name: picture for name, picture in pictures.items() if picture}
    write_text(path, page.render(**told, pictures=drawn, shown=_SHOWN))


def _lengths(lengths: list[int]) -> str:
    def draw(axes: Any) -> None:
        axes.hist(lengths, bins=30, color="#456")
        axes.set_xlabel("characters")

    return _picture(draw) if lengths else ""


def _counts(counts: dict[str, int]) -> str:
    def draw(axes: Any) -> None:
        axes.barh(list(counts), list(counts.values()), color="#a43")

    return _picture(draw) if counts else ""


def _picture(draw: Any) -> str:
    """An SVG in base64, whose text every reader has the letters for."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    draw(figure.subplots())
    out = BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return b64encode(out.getvalue()).decode()
