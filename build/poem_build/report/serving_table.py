"""What was seen of serving → a table in Markdown."""

from collections.abc import Iterable, Mapping, Sequence

from poem_build.judge.figures import Spread
from poem_build.judge.protocol import MALFORMED, Score
from poem_build.judge.sampling import Tried
from poem_build.judge.serving import ServingReport
from poem_build.report import markdown

FILE = "serving.md"


def render(name: str, report: ServingReport) -> str:
    """The report of one model."""
    memory, prompt = report.memory, report.prompt
    evaluated = "not told by this Ollama's log" if prompt.evaluated is None else f"{prompt.evaluated:.0f} on average"
    parts = [
        f"# {name}: served",
        markdown.table(["", "Ollama, schema", "Ollama, no schema", "embedded engine"], _rows(report)),
        f"Rules broken: schema {_broken(report.shaped.score)}; no schema {_broken(report.free.score)}.",
        f"Prompts have {prompt.tokens:.0f} tokens, of which {prompt.new:.0f} differ from the hand before; "
        f"evaluated from the second hand on: {evaluated}. The first prompt took {prompt.first_s:.2f} s, later ones "
        f"{_seconds(prompt.later_s)}.",
        f"Memory: Ollama says {_mb(memory.ps_mb)} ({_mb(memory.vram_mb)} of it on a GPU), its runner has "
        f"{_mb(memory.resident_mb)} resident; the service with the engine inside {_mb(report.embedded.resident_mb)}.",
    ]
    return "\n\n".join(parts) + "\n"


def sweep_table(rows: Sequence[Tried]) -> str:
    """Each combination of settings: fewest dropped answers first, then most within the rules."""
    ordered = sorted(rows, key=lambda row: (row.served.ended.get("dropped", 0), -row.served.score.passed))
    return markdown.table(
        ["settings", "hands", "dropped", "cut by length", "within all rules", "broken", "seconds a poem"],
        (
            (
                ", ".join(f"{name} {value:g}" for name, value in row.settings.items()),
                str(row.served.score.hands),
                str(row.served.ended.get("dropped", 0)),
                str(row.served.ended.get("length", 0)),
                str(row.served.score.passed),
                _broken(row.served.score),
                _seconds(row.served.seconds),
            )
            for row in ordered
        ),
    )


def _rows(report: ServingReport) -> Iterable[Sequence[str]]:
    shaped, free, inside = report.shaped, report.free, report.embedded
    hands = shaped.score.hands
    yield "hands", str(hands), str(free.score.hands), str(inside.hands)
    yield "within all rules, first try", *(_share(one.score.passed, one.score.hands) for one in (shaped, free)), ""
    given = report.delivered
    yield (
        f"delivered by the model, {len(given.by_try)} tries",
        _share(given.answered, given.hands),
        "",
        _share(inside.delivered, inside.hands),
    )
    yield "whole sentences in that", f"{given.sentences.share:.2%} of {given.sentences.count}", "", ""
    yield "ended", _counts(shaped.ended), _counts(free.ended), _counts(inside.sources)
    yield "seconds a poem", *(_seconds(one.seconds) for one in (shaped, free, inside))
    yield "tokens a poem", *(f"{one.tokens.median:.0f}" for one in (shaped, free)), ""
    yield (
        "tokens a second",
        *(f"{one.tokens_per_second}" for one in (shaped, free)),
        f"{inside.tokens_per_second_in_all} with the prompt's time",
    )


def _share(count: int, hands: int) -> str:
    return f"{count} ({count / hands:.0%})"


def _broken(found: Score) -> str:
    counted = ({MALFORMED: found.malformed} if found.malformed else {}) | found.broken
    return _counts(counted) or "none"


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counted.items())


def _seconds(spread: Spread) -> str:
    return f"{spread.median:.2f} s (95 % within {spread.p95:.2f} s)"


def _mb(size: float | None) -> str:
    return "–" if size is None else f"{size:,.0f} MB"
