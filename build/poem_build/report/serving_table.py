"""What was seen of serving → a table in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from poem_build.recipe.schema import Recipe
from poem_build.report import markdown
from poem_build.store import artifact
from poem_build.store.artifact import Artifact

FILE = "serving.md"


def write(recipe: Recipe, out: Path, made: Artifact) -> str:
    """Write the report beside the stages' folders, and return it."""
    text = render(recipe.name, made.figures)
    artifact.write_text(out / FILE, text)
    return text


def render(name: str, told: Mapping[str, Any]) -> str:
    """The report of one model."""
    embedded, memory, prompt = told["embedded"], told["memory"], told["prompt"]
    evaluated = (
        "not told by this Ollama's log" if prompt["evaluated"] is None else f"{prompt['evaluated']:.0f} on average"
    )
    parts = [
        f"# {name}: served",
        markdown.table(["", "Ollama, schema", "Ollama, no schema", "embedded engine"], _rows(told)),
        f"Rules broken: schema {_broken(told['schema'])}; no schema {_broken(told['free'])}.",
        f"Prompts have {prompt['tokens']:.0f} tokens, of which {prompt['new']:.0f} differ from the hand before; "
        f"evaluated from the second hand on: {evaluated}. The first prompt took {prompt['first_s']:.2f} s, later ones "
        f"{_seconds(prompt['later_s'])}.",
        f"Memory: Ollama says {_mb(memory['ps_mb'])} ({_mb(memory['vram_mb'])} of it on a GPU), its runner has "
        f"{_mb(memory['resident_mb'])} resident; the service with the engine inside {_mb(embedded['resident_mb'])}.",
    ]
    return "\n\n".join(parts) + "\n"


def sweep_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each combination of settings: fewest dropped answers first, then most within the rules."""
    ordered = sorted(rows, key=lambda row: (row["ended"].get("dropped", 0), -row["passed"]))
    return markdown.table(
        ["settings", "hands", "dropped", "cut by length", "within all rules", "broken", "seconds a poem"],
        (
            (
                ", ".join(f"{name} {value:g}" for name, value in row["settings"].items()),
                str(row["hands"]),
                str(row["ended"].get("dropped", 0)),
                str(row["ended"].get("length", 0)),
                str(row["passed"]),
                _broken(row),
                _seconds(row["seconds"]),
            )
            for row in ordered
        ),
    )


def _rows(told: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    shaped, free, inside = told["schema"], told["free"], told["embedded"]
    yield "hands", str(shaped["hands"]), str(free["hands"]), str(inside["hands"])
    yield "within all rules, first try", _share(shaped, "passed"), _share(free, "passed"), ""
    yield "delivered by the model, two tries", _share(shaped, "delivered"), "", _share(inside, "delivered")
    yield "ended", _counts(shaped["ended"]), _counts(free["ended"]), _counts(inside["sources"])
    yield "seconds a poem", *(_seconds(one["seconds"]) for one in (shaped, free, inside))
    yield "tokens a poem", *(f"{one['tokens']['median']:.0f}" for one in (shaped, free)), ""
    yield (
        "tokens a second",
        *(f"{one['tokens_per_second']}" for one in (shaped, free)),
        f"{inside['tokens_per_second_in_all']} with the prompt's time",
    )


def _share(part: Mapping[str, Any], name: str) -> str:
    return f"{part[name]} ({part[name] / part['hands']:.0%})"


def _broken(part: Mapping[str, Any]) -> str:
    counted = ({"no answer": part["malformed"]} if part["malformed"] else {}) | part["broken"]
    return _counts(counted) or "none"


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counted.items())


def _seconds(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f} s (95 % within {spread['p95']:.2f} s)"


def _mb(size: float | None) -> str:
    return "–" if size is None else f"{size:,.0f} MB"
