"""`Settings` → the running parts of the service, started and stopped together."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from random import Random

from poem.deck import Deck
from poem.environment import without_passwords
from poem.game import Game
from poem.hand import deal, draw_candidates
from poem.table import Table
from poem_service.engine.choose import choose
from poem_service.errors import SettingsError
from poem_service.game import game_of
from poem_service.record.generation_log import GenerationLog, Store
from poem_service.record.json_lines import JsonLines
from poem_service.record.log import lines_lost
from poem_service.record.metrics import Metrics
from poem_service.record.outcome import Outcome
from poem_service.record.recent import Recent
from poem_service.record.sqlite_store import SqliteStore
from poem_service.request.chat import Chats
from poem_service.request.dealer import CardSet, Dealer, card_sets, deal_any
from poem_service.request.fallback import fall_back
from poem_service.request.intake import body_bytes_max
from poem_service.request.ratelimit import RateLimit
from poem_service.request.writer import Writer
from poem_service.settings import Settings, blaming
from poem_service.variables import STDOUT
from poem_service.watch.breaker import BreakerState
from poem_service.watch.fleet import Fleet
from poem_service.watch.keeper import Keeper
from poem_service.watch.slots import Slots

log = logging.getLogger("poem_service")


EACH: tuple[tuple[str, str, Callable[[Keeper], float]], ...] = (
    ("poem_engine_ahead", "Requests at the engine or waiting for it", lambda keeper: keeper.slots.ahead),
    (
        "poem_engine_answer_seconds",
        "What a poem of the engine's takes",
        lambda keeper: keeper.standing.pace.answer_s if keeper.standing.pace else float("nan"),
    ),
    (
        "poem_engine_breaker_open",
        "1 while the breaker on the engine is not closed",
        lambda keeper: keeper.breaker.opened_at is not None,
    ),
    ("poem_engine_poems", "Poems that the engine wrote", lambda keeper: keeper.poems),
)
"""Gauges of each engine."""


@dataclass
class Service:
    """Everything that lives as long as the process."""

    settings: Settings
    game: Game
    table: Table | None
    stale_cards: tuple[str, ...]
    fleet: Fleet
    writer: Writer
    metrics: Metrics
    rate_limit: RateLimit | None
    chats: Chats
    log_store: Store | None = None
    recent: Recent = field(default_factory=Recent)
    generation_log: GenerationLog | None = None
    dealer: Dealer | None = None
    """Who deals what the table holds, once that has been read."""
    _broken_rows: int = 0
    _keeping: asyncio.Task[None] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> "Service":
        """The parts, wired. Raises `SettingsError` for a file that is no good."""
        game = game_of(settings)
        with blaming("POEM_TABLE"):
            table = Table.open(settings.table) if settings.table else Table.of_game(game)
        metrics, fleet = Metrics(), _fleet(settings, game)
        writer = Writer(game, fleet, table, metrics, settings.deadline_s, settings.policy)
        limit = RateLimit(settings.rate_limit) if settings.rate_limit else None
        stale = () if table is None else table.stale_cards(game.deck)
        chats = Chats(writer, settings.deadline_s)
        store = _store(settings.log_db) if settings.log_db else None
        service = cls(settings, game, table, stale, fleet, writer, metrics, limit, chats, store)
        service._watch()
        service._warm_up()
        return service

    async def start(self) -> None:
        """Start what runs beside the requests."""
        for name in self.settings.idle:
            log.warning("%s is set and has no effect with %s", name, self.settings.chosen)
        for warning in self.game.warnings:
            log.warning("the game's files: %s", warning)
        if self.dealer is not None:
            self._tell_broken_rows()
            if not self.dealer.prepared:
                log.warning("POEM_DEAL=prepared, and the table holds no hand of this deck: any cards are dealt")
        if self.stale_cards:
            log.warning("the table was built for another deck", extra={"seen": {"cards": list(self.stale_cards)}})
        if self.log_store is not None:
            self.generation_log = GenerationLog(self.log_store)
        self._keeping = asyncio.create_task(self.fleet.run(), name="fleet")

    def drain(self) -> None:
        """The end is near: nobody waits for the model any more, and `/ready` says so."""
        if not self.writer.stopping:
            log.info("stopping: requests under way are answered without the model")
            self.writer.stop()

    async def stop(self) -> None:
        """Stop it, the log last."""
        self.drain()
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        await self.fleet.aclose()
        if self.generation_log is not None:
            await asyncio.to_thread(self.generation_log.close)
        if self.table is not None:
            self.table.close()

    def keep(self, outcome: Outcome) -> None:
        """Remember a poem that a player got."""
        self.recent.note(outcome)
        if self.generation_log is not None:
            self.generation_log.add(outcome)

    @property
    def keeper(self) -> Keeper:
        """Of the engine that is told of where one is asked for."""
        return self.fleet.lead

    @property
    def deck(self) -> Deck:
        """The deck that is dealt."""
        return self.game.deck

    async def deal(self, *, prepared: bool, seed: int | None = None) -> tuple[int, CardSet]:
        """Cards, and the seed that gives them again: any, or of the sets that the table holds and that can be read."""
        if not prepared:
            return deal_any(self.deck, seed)
        dealer = self.dealer
        if dealer is None:
            try:
                dealer = await asyncio.to_thread(self._prepare)
            except sqlite3.Error as error:
                log.warning("the table cannot be read: any cards are dealt", extra={"seen": {"error": str(error)}})
                return deal_any(self.deck, seed)
            self._tell_broken_rows()
        return dealer.deal(seed)

    @cached_property
    def body_bytes_max(self) -> int:
        """How many bytes a request may have."""
        return body_bytes_max(self.deck)

    @property
    def gpu_lost(self) -> bool:
        """Whether a GPU is expected and the model is loaded without one."""
        found = [keeper.standing.facts for keeper in self.fleet.keepers]
        return self.settings.gpu == "expected" and any(facts is not None and facts.vram_share == 0 for facts in found)

    def _warm_up(self) -> None:
        """Read the composer's word files now: a tenth of a second that no player should wait for."""
        hand, titles = deal(self.deck, Random(0)), draw_candidates(self.deck, Random(0))
        fall_back(self.game, hand, titles, 0, None)
        try:
            if self.table is not None:
                list(self.table.find(hand))
            if self.settings.deal == "prepared":
                self._prepare()
        except sqlite3.Error as error:
            told = f"POEM_TABLE: {self.settings.table}: {error}; build or import the table again"
            raise SettingsError(told) from error

    def _prepare(self) -> Dealer:
        """Read the whole table for the sets of cards that it holds. Raises `sqlite3.Error`."""
        found = [] if self.table is None else list(self.table.card_ids())
        self._broken_rows = found.count(None)
        self.dealer = Dealer(self.deck, card_sets(self.deck, found, self.stale_cards))
        return self.dealer

    def _tell_broken_rows(self) -> None:
        if self._broken_rows:
            told = "rows of the table that hold no hand are left out"
            log.warning(told, extra={"seen": {"rows": self._broken_rows}})

    def _watch(self) -> None:
        fleet, metrics = self.fleet, self.metrics
        states = {state: n for n, state in enumerate(BreakerState)}

        def tokens_per_s() -> float:
            pace = fleet.lead.standing.pace
            return (pace.tokens_per_s if pace else None) or 0.0

        def vram() -> float:
            facts = fleet.lead.standing.facts
            return facts.vram_share if facts and facts.vram_share is not None else float("nan")

        metrics.watch("poem_queue_ahead", "Requests at the model or waiting for it", lambda: self.fleet.ahead)
        for name, breaker, of in (
            ("poem_breaker_state", lambda: fleet.lead.breaker, "the model's server"),
            ("poem_quality_breaker_state", lambda: fleet.lead.quality, "what the model writes"),
        ):
            metrics.watch(
                name,
                f"0 closed, 1 open, 2 half-open: the breaker on {of}",
                lambda breaker=breaker: states[breaker().state(time.monotonic())],  # type: ignore[misc]
            )
        metrics.watch(
            "poem_model_ready",
            "1 if players' hands go to the model",
            lambda: self.writer.obstacle(fleet.lead, time.monotonic()) is None,
        )
        metrics.watch_each(
            "poem_engine_ready",
            "1 if hands go to the engine",
            lambda: {k.label: self.writer.obstacle(k, time.monotonic()) is None for k in fleet.keepers},
        )
        metrics.watch("poem_model_tokens_per_second", "The model's pace", tokens_per_s)
        metrics.watch("poem_model_vram_ratio", "Share of the model in video memory", vram)
        metrics.watch(
            "poem_model_queues_inside",
            "1 if the server does fewer at once than asked",
            lambda: fleet.lead.queues_inside,
        )
        metrics.watch(
            "poem_gpu_lost", "1 if a GPU is expected and the model is loaded without one", lambda: self.gpu_lost
        )
        for name, told, read in EACH:
            metrics.watch_each(name, told, lambda read=read: {k.label: read(k) for k in fleet.keepers})  # type: ignore[misc]
        metrics.watch_total(
            "poem_untold",
            "Poems over the limit that the log has no line and no row of",
            lambda: self.rate_limit.untold if self.rate_limit else 0,
        )
        metrics.watch(
            "poem_log_rows_waiting",
            "Rows that the generation log has yet to keep",
            lambda: self.generation_log.waiting if self.generation_log else 0,
        )
        metrics.watch(
            "poem_log_failing",
            "1 while the generation log's store takes no rows",
            lambda: self.generation_log is not None and self.generation_log.failing is not None,
        )
        metrics.watch_total("poem_log_lines_lost", "Lines that standard error did not take", lines_lost)
        metrics.watch_total(
            "poem_log_rows_lost",
            "Rows the generation log could not keep",
            lambda: self.generation_log.lost if self.generation_log else 0,
        )


def _store(log_db: Path | str) -> Store:
    """Where the generation log goes. Raises `SettingsError` for a file that will never take a row."""
    if isinstance(log_db, Path):
        store = SqliteStore(log_db)
        if why := store.unusable():
            raise SettingsError(f"POEM_LOG_DB: {log_db}: {why}; give an SQLite file, or a new one, that can be written")
        return store
    if log_db == STDOUT:
        return JsonLines()
    from poem_service.record.postgres_store import PostgresStore

    return PostgresStore(log_db)


def _fleet(settings: Settings, game: Game) -> Fleet:
    """A keeper for each engine; the label tells where it is, and no password."""
    keepers = []
    listed = settings.engines or (None,)
    for one, found in zip(settings.each(), listed, strict=True):
        label = one.engine if found is None else without_passwords(f"{found.kind}={found.where}#{one.model}")
        slots = Slots(max(1, one.max_active // one.workers))
        share = found.share if found else 0.0
        find, above = partial(choose, one), settings.policy == "auto"
        keepers.append(Keeper(find, game, one.deadline_s, slots, label, share, above_composer=above))
    return Fleet(keepers)
