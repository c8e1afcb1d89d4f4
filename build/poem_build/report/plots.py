"""The figures of a report → its pictures, each with what it shows in a sentence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from poem.shape import POEM_LENGTH
from poem_build.evaluation.history import changes
from poem_build.evaluation.names import COMPOSER
from poem_build.evaluation.report import MODEL, Evaluation, Figure
from poem_build.judge.figures import spread
from poem_build.report import words
from poem_build.report.dots import Dots, Value, dot_plot
from poem_build.report.picture import FAULT, FORMER, GOOD, LINE, NOW, SOFT, THIRD, drawn

_BIN = 5
"""Characters."""
_LINE = 24
"""Letters of a writer's name, which may be a path, before it goes on below."""
_TREND = ("pass.delivered", "conceal.lemma", "sentences.whole")


@dataclass(frozen=True)
class Plot:
    """A picture for a page."""

    name: str
    title: str
    said: str
    """What it shows, also for whoever does not see it."""
    svg: str
    legend: Sequence[tuple[str, str]] = ()
    """(colour, what has it)."""


def plots(evaluation: Evaluation) -> list[Plot]:
    """Those that there is something to show in."""
    makers = (_beside, _losses, _lengths, _rules, _categories, _strengths, _quantized, _latency, _scores)
    return [plot for make in makers for plot in make(evaluation)]


def trend(kept: Sequence[Evaluation]) -> Iterator[Plot]:
    """How the main figures went from build to build, the newest last."""
    if len(kept) < 2:
        return
    colours = dict(zip(_TREND, (NOW, GOOD, FORMER), strict=True))
    found = {name: [one.figure(name) for one in kept] for name in _TREND}

    def draw(axes: Any) -> None:
        for n, (name, figures) in enumerate(found.items()):
            there = [(at + (n - 1) * 0.06, one) for at, one in enumerate(figures) if one]
            if there:
                places, ones = [at for at, _ in there], [one for _, one in there]
                spread = [[one.value - one.low for one in ones], [one.high - one.value for one in ones]]
                axes.errorbar(
                    places,
                    [one.value for one in ones],
                    yerr=spread,
                    fmt="o-",
                    markersize=4,
                    lw=1.2,
                    color=colours[name],
                )
        for at, one in enumerate(kept):
            if not one.verdict.passed:
                axes.axvspan(at - 0.3, at + 0.3, color=FAULT, alpha=0.08, lw=0)
        axes.set_xticks(
            range(len(kept)), [one.provenance.gguf[:6] for one in kept], rotation=0 if len(kept) < 8 else 45
        )
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.grid(axis="x", visible=False)

    legend = [(colours[name], words.FIGURES[name]) for name in _TREND]
    said = f"評価{len(kept)}件の歩み。左が古く、右が新しい。赤い帯は舞台に出せないと判じたもの。"
    yield Plot("trend", "歩み", said, drawn("trend", 2.6, draw), [*legend, (FAULT, "出せないビルド")])


def _beside(evaluation: Evaluation) -> Iterator[Plot]:
    """The model's shares, those of the former build beside them."""
    there = {one.now: one.former for one in changes(evaluation.figures, evaluation.former)}
    ours = [one for one in evaluation.figures if one.writer == MODEL and one.unit == "share" and one.low >= 0]
    if not ours:
        return
    series = [Dots("このビルド", NOW, [_dot(one) for one in ours])]
    if there:
        series.append(Dots("前のビルド", FORMER, [_dot(there.get(one)) for one in ours], hollow=True))
    svg = dot_plot("beside", [words.short(one) for one in ours], series, whole=True)
    yield Plot("beside", "割合", "点は値、線は95%の区間。" + _best(ours), svg, _legend(series))


def _losses(evaluation: Evaluation) -> Iterator[Plot]:
    losses = evaluation.losses
    if losses is None or not losses.train:
        return
    width = losses.steps / len(losses.train)

    def draw(axes: Any) -> None:
        axes.plot([(n + 0.5) * width for n in range(len(losses.train))], losses.train, color=NOW, lw=1.4)
        axes.plot(*zip(*losses.valid, strict=True), color=FORMER, marker="o", markersize=4, lw=1.4)
        axes.axvline(losses.kept_step, color=SOFT, linestyle=":", lw=1)
        axes.set_ylim(0, 1.08 * max(*losses.train, *(loss for _, loss in losses.valid)))
        axes.set_xlabel("段")

    best = min(loss for _, loss in losses.valid)
    said = f"{losses.steps:,}段の学習。検証の損失は{losses.valid[0][1]:.2f}から{best:.2f}へ(答え一語あたりのnat)。"
    legend = [(NOW, "学習"), (FORMER, "検証"), (SOFT, f"残した段 {losses.kept_step:,}")]
    yield Plot("losses", "学習の損失", said, drawn("losses", 2.4, draw), legend)


def _lengths(evaluation: Evaluation) -> Iterator[Plot]:
    ours, theirs = (_samples(evaluation, "length", name) for name in (MODEL, COMPOSER))
    if not ours:
        return
    low, high = POEM_LENGTH.start, POEM_LENGTH.stop - 1
    edges = range(int(min(*ours, low)) // _BIN * _BIN - _BIN, int(max(*ours, high)) + 2 * _BIN, _BIN)

    def draw(axes: Any) -> None:
        axes.axvspan(low, high, color=GOOD, alpha=0.12, lw=0)
        axes.hist(ours, bins=edges, color=NOW, alpha=0.85)
        if theirs:
            weights = [len(ours) / len(theirs)] * len(theirs)
            axes.hist(theirs, bins=edges, weights=weights, histtype="step", color=FORMER, lw=1.4)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("字")

    within = sum(low <= one <= high for one in ours)
    legend = [(NOW, words.writer(MODEL)), *([(FORMER, "composer")] if theirs else []), (GOOD, f"{low}〜{high}字")]
    said = f"一度目の答え{len(ours)}篇のうち、{within}篇が{low}字から{high}字に収まる。"
    yield Plot("lengths", "詩の長さ", said, drawn("lengths", 2.4, draw), legend)


def _rules(evaluation: Evaluation) -> Iterator[Plot]:
    ours = [one for one in evaluation.rules if one.writer == MODEL]
    names = list(dict.fromkeys(one.rule for one in ours))
    if not names:
        return
    first, last = ({one.rule: one.kept for one in ours if one.when == when} for when in ("first", "delivered"))
    series = [
        Dots("一度目の答え", THIRD, [_dot(first.get(name)) for name in names], hollow=True),
        Dots("届いた答え", NOW, [_dot(last.get(name)) for name in names]),
    ]
    worst = min(first.values(), key=lambda one: one.value)
    said = f"一度目でいちばん破られるのは「{words.rule(worst.what)}」で、守れた割合は{worst.value:.1%}。"
    if worst.value == 1:
        said = "一度目から、どの規則も守られている。"
    yield Plot(
        "rules",
        "規則ごとの守りかた",
        said,
        dot_plot("rules", [words.rule(name) for name in names], series),
        _legend(series),
    )


def _categories(evaluation: Evaluation) -> Iterator[Plot]:
    yield from _groups(evaluation, "category", "カードの種類ごと")


def _strengths(evaluation: Evaluation) -> Iterator[Plot]:
    yield from _groups(evaluation, "strength", "現実の強さごと")


def _groups(evaluation: Evaluation, kind: str, title: str) -> Iterator[Plot]:
    ours = [one for one in evaluation.groups if (one.kind, one.writer) == (kind, MODEL)]
    if not ours:
        return
    series = [
        Dots("一度目で合格", NOW, [_dot(one.passed) for one in ours]),
        Dots("現実を漏らさない", GOOD, [_dot(one.concealed) for one in ours], hollow=True),
    ]
    low = min(ours, key=lambda one: one.passed.value)
    said = f"いちばん低いのは「{_minus(low.group)}」で、一度目の合格が{low.passed.value:.1%}(手札{low.passed.count})。"
    if low.passed.value == 1:
        said = "どれも、一度目から規則をすべて守る。"
    yield Plot(kind, title, said, dot_plot(kind, [_minus(one.group) for one in ours], series), _legend(series))


def _quantized(evaluation: Evaluation) -> Iterator[Plot]:
    found = evaluation.quantized
    if not found:
        return

    def draw(axes: Any) -> None:
        for one in found:
            place = one.bytes / 1e6, one.kl_divergence
            axes.scatter(*place, s=40, color=NOW if one.served else THIRD, zorder=3)
            axes.annotate(one.name, place, xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8.5)
        axes.margins(x=0.18, y=0.25)
        axes.set_xlabel("MB")
        axes.set_ylabel("KL (nat/token)")

    served = next((one for one in found if one.served), found[-1])
    said = (
        f"{served.name}は量子化の前から語ごとに{served.kl_divergence:.4f}natずれ、"
        f"最有力の語は{served.same_top_token:.1%}が同じ。左下ほどよい。"
    )
    legend = [(NOW, "出しているもの"), (THIRD, "ほかの量子化")]
    yield Plot("quantized", "量子化で失ったもの", said, drawn("quantized", 2.4, draw, left=0.75), legend)


def _latency(evaluation: Evaluation) -> Iterator[Plot]:
    answers, firsts = (sorted(_samples(evaluation, name, MODEL)) for name in ("answer", "first_token"))
    if not answers:
        return

    def draw(axes: Any) -> None:
        for values, colour in ((answers, NOW), (firsts, FORMER)):
            if values:
                axes.ecdf(values, color=colour, lw=1.5)
        axes.set_xlim(left=0)
        axes.set_yticks([0, 0.5, 0.95, 1], ["0%", "50%", "95%", ""])
        axes.set_xlabel("秒")

    waits = spread(answers)
    said = f"半分は{waits.median:.1f}秒、95%は{waits.p95:.1f}秒までに書き終わる({evaluation.provenance.device})。"
    legend = [(NOW, "書き終わり"), *([(FORMER, "最初の一語")] if firsts else [])]
    yield Plot("latency", "待ち時間", said, drawn("latency", 2.4, draw), legend)


def _scores(evaluation: Evaluation) -> Iterator[Plot]:
    scores = [one for one in evaluation.matrix.scores if one.aspect == "overall"] if evaluation.matrix else []
    if not scores:
        return
    names = list(dict.fromkeys(one.writer for one in scores))
    judges = list(dict.fromkeys(one.judge for one in scores))
    series = []
    for judge, colour in zip(judges, (NOW, FORMER, GOOD, THIRD, LINE), strict=False):
        by = {one.writer: Value(one.score, one.low, one.high) for one in scores if one.judge == judge}
        series.append(Dots(words.judge(judge), colour, [by.get(name) for name in names]))
    lines = ["\n".join(wrap(words.writer(name), _LINE)) for name in names]
    svg = dot_plot("scores", lines, series, percent=False)
    said = "Bradley–Terryの強さ。右ほど勝ち、0が書き手の平均。線が重なる書き手に差は言えない。"
    yield Plot("scores", "書き手の強さ", said, svg, _legend(series))


def _minus(group: str) -> str:
    return group.replace("-", "−")


def _samples(evaluation: Evaluation, name: str, writer: str) -> list[float]:
    return next((list(one.values) for one in evaluation.samples if (one.name, one.writer) == (name, writer)), [])


def _dot(one: Figure | None) -> Value | None:
    return Value(one.value, one.low, one.high) if one else None


def _legend(series: Sequence[Dots]) -> list[tuple[str, str]]:
    return [(one.colour, one.label) for one in series] if len(series) > 1 else []


def _best(ours: Sequence[Figure]) -> str:
    lower = [words.short(one) for one in ours if one.better == "lower"]
    return f"{'・'.join(lower)}は左、ほかは右ほどよい。" if lower else "右ほどよい。"
