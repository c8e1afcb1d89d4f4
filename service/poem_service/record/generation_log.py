"""Poems → rows of the generation log, by a thread of its own, off the request path.

A commit every quarter of a second. A store that is full or away loses rows, never a poem; each lost row is counted,
and a store that takes none is told of.
"""

import logging
import queue
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from poem.environment import without_passwords
from poem_service.record.outcome import Outcome

log = logging.getLogger("poem_service.record.generation_log")

NAMES = (
    "id",
    "created_at",
    "selected_cards",
    "generated_poem",
    "generation_time_ms",
    "is_successful",
    "llm_provider",
    "llm_model",
    "prompt_text",
    "reasoning_text",
    "seed",
)
"""Of a row's columns; the id is the store's to give."""
COMMIT_S = 0.25
CLOSE_S = 10.0
WAITING_MAX = 10_000
TELL_S = 60.0
"""The same line of log comes no sooner again."""

Row = tuple[object, ...]
Rows = list[tuple[Row, str | None]]
"""Each with the id of its request."""


class Store(Protocol):
    """Where rows go."""

    retry_s: float
    """How long rows wait before they are tried again."""

    def keep(self, rows: Rows) -> None:
        """All of them, or an exception; where it `is_busy`, the same list comes again."""
        ...

    def is_busy(self, error: Exception) -> bool:
        """Whether the rows may be kept a little later."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class GenerationLog:
    """Takes poems without ever blocking; `lost` counts the rows that could not be kept."""

    def __init__(self, store: Store) -> None:
        self.lost = 0
        self.failing: str | None = None
        """Why the rows in hand wait; None where the store takes what it is given."""
        self._store = store
        self._rows: Rows = []
        """Those in hand."""
        self._told: dict[str, float] = {}
        self._waiting: queue.Queue[tuple[datetime, Outcome] | None] = queue.Queue(WAITING_MAX)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="generation-log", daemon=True)
        self._thread.start()

    def add(self, outcome: Outcome) -> None:
        try:
            self._waiting.put_nowait((datetime.now(UTC), outcome))
        except queue.Full:
            self.lost += 1
            self._tell("poems are not logged: too many wait", None)

    @property
    def waiting(self) -> int:
        """Rows that the store has not taken from us yet; of those behind the ones in hand, `WAITING_MAX` at most."""
        return len(self._rows) + self._waiting.qsize()

    def close(self) -> None:
        """Write what waits, then stop; a disk that hangs holds it up for `CLOSE_S` and no longer."""
        self._closing.set()
        with suppress(queue.Full):  # then the thread is awake and sees the event
            self._waiting.put_nowait(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while self._rows or not (self._closing.is_set() and self._waiting.empty()):
            if not self._rows:
                self._take()
            try:
                if self._rows:
                    self._store.keep(self._rows)
            except Exception as error:  # whatever it is, the next rows may fare better
                if self._store.is_busy(error):
                    self.failing = without_passwords(str(error) or repr(error))
                    self._tell("poems wait to be logged", self.failing)
                    if not self._closing.wait(self._store.retry_s):
                        continue  # these rows wait, and others behind them
                self._lose(len(self._rows), error)
            self._rows, self.failing = [], None
        self._store.close()

    def _take(self) -> None:
        """What comes within a commit's time after the first, as rows; an outcome that makes none is lost."""
        until: float | None = None
        while len(self._rows) < WAITING_MAX:
            try:
                item = self._waiting.get(timeout=until and max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            until = until or time.monotonic() + COMMIT_S
            if item is None:  # the end has come; what was put before it is here
                break
            try:
                self._rows.append((_row(*item), item[1].request_id))
            except Exception as error:
                self._lose(1, error)

    def _lose(self, count: int, error: Exception) -> None:
        self.lost += count
        log.error("poems are not logged", extra={"seen": {"lost": self.lost, "error": without_passwords(str(error))}})

    def _tell(self, message: str, error: str | None) -> None:
        now = time.monotonic()
        if message not in self._told or now - self._told[message] >= TELL_S:
            self._told[message] = now
            seen = {"waiting": self.waiting, "lost": self.lost, "error": error}
            log.warning(message, extra={"seen": seen})


def _row(at: datetime, outcome: Outcome) -> Row:
    prompt = outcome.prompt
    return (
        None,
        at.isoformat(timespec="milliseconds"),
        msgspec.json.encode(outcome.hand.as_json()).decode(),
        msgspec.json.encode({"title": outcome.answer.title, "poem": outcome.answer.poem}).decode(),
        round(outcome.seconds * 1000),
        outcome.source == "model",
        outcome.engine or outcome.source,
        outcome.model,
        prompt.text if prompt else None,
        outcome.reasoning,
        outcome.seed,
    )
