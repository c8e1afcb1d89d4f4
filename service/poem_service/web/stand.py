"""A `Service` → the page of the person behind the counter: how the model stands, what to do, poems today."""

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random
from string import Template
from typing import Any

from poem.hand import Hand, Pair
from poem_service.errors import Reason
from poem_service.record.outcome import Outcome
from poem_service.record.remedies import LOG_FAILING, NOTICES, REMEDIES
from poem_service.service import Service
from poem_service.web.inline import inline_digests
from poem_service.web.ready import readiness

SOURCES = {"model": "モデル", "table": "控えの表", "composed": "組み立て"}
REFRESH = '<meta http-equiv="refresh" content="10">'


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to look at, and what to do about it."""

    seen: str
    remedy: str


def report(service: Service) -> dict[str, Any]:
    """For a program."""
    notices = [{"seen": notice.seen, "remedy": notice.remedy} for notice in _notices(service)]
    misses = [
        {"at": miss.at, "source": miss.source, "reason": miss.reason, "meaning": REMEDIES[miss.reason][0]}
        for miss in reversed(service.recent.misses)
    ]
    return {"ready": readiness(service), "notices": notices, "today": service.recent.today(), "misses": misses}


async def play(service: Service) -> Outcome:
    """A hand as it would be dealt to a player, written as it would be for one; it is not kept."""
    seed, cards = await service.deal(prepared=service.settings.deal == "prepared")
    rng = Random(seed)
    return await service.writer.write(Hand(tuple(Pair(card, rng.choice(card.poems)) for card in cards)))


def page(service: Service, played: Outcome | None = None) -> str:
    """For a reader; it looks again by itself until a test hand is shown."""
    found = report(service)
    ready = found["ready"]
    from_model = ready["answers_from"] == "model"
    head = "○ モデルが詩を書いています" if from_model else "△ モデルは休んでいます。詩は控えから出ています"
    facts = {
        "モデル": f"{ready['model']}（{ready['engine'] or 'まだ見つかっていません'}）",
        "速さ": f"一篇およそ {math.ceil(ready['answer_s'])} 秒" if ready["answer_s"] else "まだ分かりません",
        "いま並んでいる人": f"{ready['queue']} 人",
        **(_engines(ready["engines"]) if len(ready["engines"]) > 1 else {}),
        "きょうの詩": "、".join(f"{SOURCES[name]} {n} 篇" for name, n in found["today"].items()) or "まだありません",
    }
    return _template().substitute(
        refresh="" if played else REFRESH,
        head=f'<h1 class="{"ok" if from_model else "bad"}">{head}</h1>',
        notices="".join(f"<li>{_safe(n['seen'])}<br>→ {_safe(n['remedy'])}</li>" for n in found["notices"]),
        facts="".join(_row(*fact) for fact in facts.items()),
        misses="".join(_row(m["at"], SOURCES[m["source"]], m["meaning"]) for m in found["misses"]),
        poem=_poem(played) if played else "",
    )


@cache
def csp() -> str:
    """Nothing from outside, and no script at all."""
    style = " ".join(inline_digests(_template().template)["style"])
    return f"default-src 'none'; style-src {style}; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


@cache
def _template() -> Template:
    return Template((resources.files("poem_service.web") / "stand.html").read_text("utf-8"))


def _poem(played: Outcome) -> str:
    why = f"：{REMEDIES[played.reason][0]}" if played.reason else ""
    how = f"{SOURCES[played.source]}、{played.seconds:.1f} 秒{why}"
    return f"<h3>「{_safe(played.answer.title)}」</h3><pre>{_safe(played.answer.poem)}</pre><p>（{_safe(how)}）</p>"


def _notices(service: Service) -> Iterable[Notice]:
    ready = readiness(service)
    if ready["reason"] is not None:
        meaning, remedy = REMEDIES[Reason(ready["reason"])]
        yield Notice(meaning + (f"（{ready['detail']}）" if ready["detail"] else ""), remedy)
    for engine in ready["engines"]:
        if ready["reason"] is None and engine["reason"] is not None:  # another writes meanwhile
            meaning, remedy = REMEDIES[Reason(engine["reason"])]
            yield Notice(f"{engine['engine']}：{meaning}", remedy)
    for name, notice in NOTICES.items():
        if ready[name]:
            yield Notice(*notice)
    if (log := service.generation_log) is None:
        return
    if log.failing:
        meaning, remedy = LOG_FAILING
        yield Notice(f"{meaning}（{log.waiting} 篇が待っています：{log.failing.splitlines()[0]}）", remedy)
    if log.lost:
        yield Notice(
            f"記録に残せなかった詩が {log.lost} 篇あります", "POEM_LOG_DB の置き場所の空きを確かめてください。"
        )


def _engines(engines: list[dict[str, Any]]) -> dict[str, str]:
    """A line for each."""
    told = {}
    for one in engines:
        share = f"、新しいモデルの試し {one['share']:.0%}" if one["share"] else ""
        how = "書いています" if one["reason"] is None else REMEDIES[Reason(one["reason"])][0]
        told[one["engine"]] = f"{how}、{one['queue']} 人、起動から {one['poems']} 篇{share}"
    return told


def _row(*cells: object) -> str:
    return "<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in cells) + "</tr>"


def _safe(text: object) -> str:
    return html.escape(str(text))
