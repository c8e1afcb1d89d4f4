"""An installation → what is right and wrong with it, each fault with what to do; in Japanese, as the stand reads it."""

import asyncio
import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from typing import Any

from poem.deck import Deck
from poem.environment import without_passwords
from poem.errors import PoemError
from poem.game import Game, builtin_game
from poem.table import Table
from poem_service.doctor.report import Report, State
from poem_service.doctor.visit import LOOK_S, KeyRefusedError, Played, StrangerError, Visit, find_service, start_service
from poem_service.errors import EngineError, Reason, SettingsError
from poem_service.game import game_of
from poem_service.record.remedies import AGAIN, LOG_FAILING, NOTICES, REMEDIES
from poem_service.settings import Settings
from poem_service.variables import VARIABLES

SLOW_S = 20.0
"""A poem that takes longer keeps a queue of players waiting."""
LOGGED_S = 6.0
"""Longer than a store waits for a file that is held or for a database that is not there."""


async def examine(environ: Mapping[str, str], wait_s: float) -> Report:
    """Look at everything; where the model is only on its way, wait for it that long."""
    report = Report()
    try:
        settings = Settings.from_env(environ)
    except SettingsError as error:
        report.add("settings", State.BAD, str(error), f"この値を直して、{AGAIN}")
        return report
    _settings(report, environ, settings)
    game = _game(report, settings)
    deck = game.deck if game else None
    can_start = _table(report, settings, game) and game is not None
    async with AsyncExitStack() as stack:
        visit = await _service(report, stack, settings, deck, can_start)
        if visit is not None:
            await _model(report, visit, settings, deck, wait_s)
    return report


async def play_one(environ: Mapping[str, str], wait_s: float, seed: int) -> tuple[Played, dict[str, Any]] | None:
    """A hand at the running service, once the model answers or `wait_s` are over; None if no service answers.

    Also what `/ready` told. Raises `SettingsError`, `StrangerError` or `EngineError`.
    """
    settings = Settings.from_env(environ)
    until = time.monotonic() + wait_s
    while True:
        async with find_service(settings) as visit:
            if visit is not None:
                ready = await visit.settle(until - time.monotonic())
                return await visit.play(seed), ready
        if time.monotonic() >= until:
            return None
        await asyncio.sleep(0.2)


def _settings(report: Report, environ: Mapping[str, str], settings: Settings) -> None:
    given = [name for name in VARIABLES if environ.get(name, "").strip()]
    unknown = sorted(name for name in environ if name.startswith("POEM_") and name not in VARIABLES)
    if unknown:
        seen = f"知らない名前です: {', '.join(unknown)}"
        report.add("settings", State.NOTE, seen, "綴りを確かめてください。この設定は使われていません。")
    elif settings.idle:
        seen = f"{settings.chosen} では効かない設定です: {', '.join(settings.idle)}"
        report.add("settings", State.NOTE, seen, "使うつもりなら POEM_ENGINE を変え、そうでなければ消してください。")
    else:
        report.add("settings", State.OK, ", ".join(given) if given else "すべて既定のまま")


def _game(report: Report, settings: Settings) -> Game | None:
    try:
        game = game_of(settings)
    except SettingsError as error:
        report.add("deck", State.BAD, str(error), "ファイルを直すか、元のファイルに戻して、起動し直してください。")
        return None
    deck = game.deck
    named = (settings.game, settings.deck, settings.catchphrases)
    where = ", ".join(str(path) for path in named if path) or "組み込み"
    wordings = sum(len(card.poems) for card in deck.cards)
    seen = f"{len(deck.cards)} 枚、言い換え {wordings}、題 {len(deck.catchphrases)}（{where}）"
    if game.warnings:
        seen += "。" + "; ".join(game.warnings)
        report.add("deck", State.NOTE, seen, "そのままでも遊べます。気になるところだけ、ファイルを直してください。")
    else:
        report.add("deck", State.OK, seen)
    return game


def _table(report: Report, settings: Settings, game: Game | None) -> bool:
    deck = (game or builtin_game()).deck
    if settings.table is None:
        by_hand = f"{len(game.poems)} 篇（ゲームの poems.jsonl）" if game and game.poems else None
        report.add("table", State.OK, by_hand or "なし（モデルが答えないときは、その場で組み立てます）")
        return True
    rebuild = "poem-build table build で作り直すか、元のファイルに戻して、起動し直してください。"
    try:
        with closing(Table.open(settings.table)) as table:
            stale = table.stale_cards(deck)
            usable = sum(1 for _ in table.entries(deck))  # reads the whole file
            seen = f"{len(table)} 篇（{settings.table}）"
    except (PoemError, sqlite3.Error, ValueError) as error:
        report.add("table", State.BAD, f"{settings.table}: {error}", rebuild)
        return False
    if stale:
        shown = ", ".join(stale[:3]) + (" ほか" if len(stale) > 3 else "")
        seen += f"。{len(stale)} 枚の札が変わっていて（{shown}）、使えるのは多くて {usable} 篇です"
        report.add("table", State.NOTE, seen, rebuild)
    else:
        report.add("table", State.OK, seen)
    return True


async def _service(
    report: Report, stack: AsyncExitStack, settings: Settings, deck: Deck | None, can_start: bool
) -> Visit | None:
    """The service to look at further: the one that runs, or else one that is started now, if its files allow it."""
    try:
        visit = await stack.enter_async_context(find_service(settings))
        if visit is not None:
            if deck is None or await visit.deck_is(deck):
                report.add("service", State.OK, f"{visit.url} で動いています")
            else:
                seen = f"{visit.url} で動いていますが、札のファイルが起動のあとで変わりました"
                report.add("service", State.NOTE, seen, "起動し直すと、新しい札になります。")
            return visit
    except KeyRefusedError as error:
        seen = f"{settings.port} 番ポートで動いています。ただし、{error}"
        report.add("service", State.BAD, seen, f"起動したときと同じ値にするか、この値で{AGAIN}")
        return None
    except (EngineError, StrangerError) as error:
        seen = f"{settings.port} 番ポートで、ほかのプログラムが答えているか、サービスが固まっています（{error}）"
        report.add("service", State.BAD, seen, f"そのプログラムを止めるか、POEM_PORT を変えて、{AGAIN}")
    else:
        if not can_start:
            report.add("service", State.BAD, "動いていません", "上の × を直してから、起動してください。")
            return None
        seen = f"{settings.port} 番ポートで動いていません。調べるあいだだけ動かします"
        report.add("service", State.NOTE, seen, "使うときは poem-service を起動してください。")
    return await stack.enter_async_context(start_service(settings)) if can_start else None


async def _model(report: Report, visit: Visit, settings: Settings, deck: Deck | None, wait_s: float) -> None:
    """The model, by what `/ready` tells, and two hands: the first answer counts, the second one's time."""
    try:
        ready = report.ready = await visit.settle(wait_s)
        _standing(report, ready, settings)
        if ready["answers_from"] == "model":
            _prompt(report, ready)
            _gpu(report, ready)
            _crowd(report, ready)
        report.played = await visit.play(1, deck)
        _hand(report, report.played, ready)
        again = await visit.play(2, deck)
        _pace(report, await visit.ready(), again)
        report.metrics = await _metrics(visit)
        _log(report, report.metrics, visit.settings)
    except (EngineError, StrangerError) as error:
        remedy = "サービスを起動し直してください。続くときは、サービスのログを見てください。"
        report.add("hand", State.BAD, f"サービスが答えませんでした（{error}）", remedy)


def _standing(report: Report, ready: Mapping[str, Any], settings: Settings) -> None:
    if ready["answers_from"] == "model":
        digest = (ready["digest"] or "").removeprefix("sha256:")[:12]
        report.add("model", State.OK, f"{ready['model']}（{ready['engine']}{f'、{digest}' if digest else ''}）")
    elif settings.engine == "none" and not settings.engines:
        report.add("model", State.NOTE, "モデルなしの設定です（POEM_ENGINE=none）", "使うときは auto にしてください。")
    else:
        meaning, remedy = REMEDIES[Reason(ready["reason"])]
        state = State.NOTE if ready["reason"] == Reason.BELOW_COMPOSER else State.BAD
        report.add("model", state, meaning + (f"（{ready['detail']}）" if ready["detail"] else ""), remedy)


def _prompt(report: Report, ready: Mapping[str, Any]) -> None:
    if ready["game_differs"]:
        seen = f"モデルは別のゲームの札で学んでいます（{ready['game_trained'] or '組み込み'}）"
        report.add("prompt", State.BAD, seen, "このゲームでモデルを作り直してください（make image GAME=…）。")
        return
    trained, served = ready["prompt_version"], ready["prompt_version_served"]
    if ready["prompt_differs"]:
        seen = f"モデルは {trained} で学び、サービスは {served} で尋ねています"
        report.add(
            "prompt", State.BAD, seen, "モデルとサービスを同じ版のものにそろえてください（make image のあと make up）。"
        )
    elif trained is None:
        report.add(
            "prompt",
            State.NOTE,
            f"{served}。モデルの学んだ版は分かりません",
            "ほかで作ったモデルなら、そのままで構いません。",
        )
    else:
        report.add("prompt", State.OK, str(served))


def _gpu(report: Report, ready: Mapping[str, Any]) -> None:
    if ready["gpu_lost"]:
        report.add("gpu", State.BAD, *NOTICES["gpu_lost"])
        return
    share = ready["vram_share"]
    seen = (
        "分かりません"
        if share is None
        else f"モデルの {share:.0%} が GPU にあります"
        if share
        else "CPU で動いています"
    )
    report.add("gpu", State.OK, seen)


def _crowd(report: Report, ready: Mapping[str, Any]) -> None:
    if ready["queues_inside"]:
        report.add("crowd", State.NOTE, *NOTICES["queues_inside"])


def _hand(report: Report, played: Played, ready: Mapping[str, Any]) -> None:
    seen = f"「{played.answer.title}」{played.seconds:.1f} 秒、{how_served(played, ready)}"
    if played.violations:
        remedy = "この詩を添えて、開発者に知らせてください（--support）。"
        report.add("hand", State.BAD, f"{seen}。決まりに反しています: {played.violations[0]}", remedy)
    elif played.source != "model" and ready["answers_from"] == "model" and played.reason is not Reason.PREPARED:
        meaning, remedy = REMEDIES[played.reason or Reason.STARTING]
        report.add("hand", State.NOTE, f"{seen}。{meaning}", remedy)
    else:
        report.add("hand", State.OK, seen)


def _pace(report: Report, ready: Mapping[str, Any], again: Played) -> None:
    if ready["answers_from"] == "model":
        cold = ready["cold_s"]
        told = "読み込み済みでした" if cold is None else f"読み込みから書き始めまで {cold:.1f} 秒"
        report.add("cold", State.OK, told)
    rate = ready["tokens_per_s"] if again.source == "model" else None
    seen = f"二篇目は {again.seconds:.1f} 秒" + (f"、毎秒 {rate} トークン" if rate else "")
    if again.seconds > SLOW_S:
        report.add("warm", State.NOTE, seen, "混むときは、待たせずに控えの表から答えます。GPU があれば速くなります。")
    else:
        report.add("warm", State.OK, seen)


def _log(report: Report, metrics: str, settings: Settings) -> None:
    if settings.log_db is None:
        return
    where = without_passwords(str(settings.log_db))
    if _value(metrics, "poem_log_failing"):
        meaning, remedy = LOG_FAILING
        waiting = _value(metrics, "poem_log_rows_waiting")
        report.add("log", State.BAD, f"{where}：{meaning}。{waiting} 篇が待っています", remedy)
    elif lost := _value(metrics, "poem_log_rows_lost_total"):
        seen = f"{where} に書き込めず、{lost} 篇が残っていません"
        report.add("log", State.BAD, seen, f"POEM_LOG_DB を、書き込める場所（容器の中なら /data）にして、{AGAIN}")
    else:
        report.add("log", State.OK, f"{where} に残しています")


async def _metrics(visit: Visit) -> str:
    """Once the generation log has the hands that were played, or fails at them; at the latest after `LOGGED_S`."""
    until = time.monotonic() + LOGGED_S
    while True:
        metrics = await visit.metrics()
        waits = _value(metrics, "poem_log_rows_waiting") and not _value(metrics, "poem_log_failing")
        if not waits or time.monotonic() >= until:
            return metrics
        await asyncio.sleep(LOOK_S)


def _value(metrics: str, name: str) -> int:
    """Of a counter or a gauge without labels; 0 where the service has none of that name."""
    found = re.search(rf"(?m)^{name} (\d+)", metrics)
    return int(found[1]) if found else 0


def how_served(played: Played, ready: Mapping[str, Any]) -> str:
    """Who answered, in plain Japanese."""
    match played.source:
        case "model":
            return f"モデルが答えています（{ready['model']}）"
        case "table" if played.reason is Reason.PREPARED:
            spare = f"（モデル {ready['model']} も控えています）" if ready["answers_from"] == "model" else ""
            return f"前もって書かれた詩が答えています{spare}"
        case "table":
            return "控えの表から答えています"
        case "composed":
            return "その場で組み立てて答えています"
