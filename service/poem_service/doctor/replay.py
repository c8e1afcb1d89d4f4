"""A request's id → the poem that it got, and the one that the same hand and seed get now."""

import argparse
import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from poem.hand import Answer, Hand
from poem_service.doctor.visit import NOT_WAITED_FOR
from poem_service.errors import RequestError, ServiceError, SettingsError
from poem_service.record.outcome import Outcome
from poem_service.record.sqlite_store import files_of
from poem_service.request.intake import read_hand
from poem_service.service import Service
from poem_service.settings import Settings

LOOK_S = 0.1
_QUERY = """
SELECT created_at, selected_cards, generated_poem, llm_provider, llm_model, prompt_text, seed
FROM generation_logs JOIN requests ON log_id = id WHERE request_id = ? ORDER BY id DESC LIMIT 1
"""


class ReplayError(ServiceError):
    """There is nothing to play again."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A row of the generation log."""

    at: str
    pairs: str
    answer: Answer
    provider: str
    model: str | None
    prompt: str | None
    seed: int


def command(environ: Mapping[str, str], asked: argparse.Namespace) -> int:
    """0 if the poem is the same again, 1 if it is another. Raises `ReplayError` or `SettingsError`."""
    settings = Settings.from_env(environ)
    if not isinstance(settings.log_db, Path):
        given = "names no file" if settings.log_db else "not set"
        raise SettingsError(f"POEM_LOG_DB: {given}; replay reads the service's generation log in SQLite")
    logged = find(settings.log_db, asked.request_id)
    outcome, same_prompt = asyncio.run(_again(settings, logged, asked.wait))
    same = outcome.answer == logged.answer
    if asked.json:
        _print(json.dumps(_as_json(logged, outcome, same_prompt), ensure_ascii=False))
    else:
        _print(_as_text(logged, outcome, same_prompt))
    return 0 if same else 1


def find(path: Path, request_id: str) -> Logged:
    """The request's row, in the log's file or in an older one."""
    for file in files_of(path):
        if not file.is_file():
            continue
        try:
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
                row = db.execute(_QUERY, (request_id,)).fetchone()
        except sqlite3.Error as error:
            raise ReplayError(f"{file}: {error}; give the file that POEM_LOG_DB named then") from error
        if row is not None:
            at, pairs, poem, provider, model, prompt, seed = row
            return Logged(at, pairs, Answer(**json.loads(poem)), provider, model, prompt, seed)
    raise ReplayError(f"{path}: holds no request {request_id!r}; the id is in the answer's X-Request-ID and in the log")


async def _again(settings: Settings, logged: Logged, wait_s: float) -> tuple[Outcome, bool]:
    service = Service.of(replace(settings, log_db=None))
    try:
        hand = _hand(service, logged)
        await service.start()
        until = time.monotonic() + wait_s
        while service.keeper.obstacle(time.monotonic()) not in NOT_WAITED_FOR | {None} and time.monotonic() < until:
            await asyncio.sleep(LOOK_S)
        outcome = await service.writer.write(hand, seed=logged.seed)
    finally:
        await service.stop()
    prompt = outcome.prompt
    return outcome, logged.prompt is None or prompt is None or prompt.text == logged.prompt


def _hand(service: Service, logged: Logged) -> Hand:
    try:
        return read_hand(f'{{"selectedPairs": {logged.pairs}}}'.encode(), service.deck, "open")
    except RequestError as error:
        raise ReplayError(f"the row's selected_cards are no hand any more ({error})") from error


def _as_json(logged: Logged, outcome: Outcome, same_prompt: bool) -> dict[str, object]:
    return {
        "same": outcome.answer == logged.answer,
        "same_prompt": same_prompt,
        "seed": logged.seed,
        "then": {"at": logged.at, "provider": logged.provider, "model": logged.model, **_fields(logged.answer)},
        "now": {
            "source": outcome.source,
            "reason": outcome.reason,
            "model": outcome.model,
            "seconds": round(outcome.seconds, 3),
            **_fields(outcome.answer),
        },
    }


def _as_text(logged: Logged, outcome: Outcome, same_prompt: bool) -> str:
    then = f"{logged.at}、{logged.model or logged.provider}、種 {logged.seed}"
    now = f"{outcome.model or outcome.source}、{outcome.seconds:.1f} 秒" + (
        f"、{outcome.reason}" if outcome.reason else ""
    )
    verdict = "同じ詩です。" if outcome.answer == logged.answer else "違う詩です。"
    if not same_prompt:
        verdict += "尋ね方（札、題、決まり）があのときと違います。"
    poems = [f"「{a.title}」\n{a.poem}" for a in (logged.answer, outcome.answer)]
    return f"{poems[0]}\n（{then}）\n\n{poems[1]}\n（{now}）\n\n{verdict}"


def _fields(answer: Answer) -> dict[str, str]:
    return {"title": answer.title, "poem": answer.poem}


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
