"""Tokens and a dated price list → dollars and yen; and a purse that cannot be overdrawn by what is still out.

The list tells too what a model takes in a question.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from poem_build.errors import TeacherError
from poem_build.recipe.lists import read_list
from poem_build.teacher.protocol import HOUR, Ask, Turn, Usage

PRICES = Path(__file__).resolve().parents[2] / "prices.toml"
_MILLION = 1e6
_KINDS = {"prompt": "prompt", "cached": "cached", "output": "output", "stored": "cached_hour"}
"""What is paid for, and the name of its price."""
TOKENS_A_CHARACTER = 0.8
"""Of Japanese text, for an estimate: what tokenizers of 2025 take is from 0.6 to 1."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    source: str
    dated: Annotated[str, BeforeValidator(lambda day: day.isoformat() if isinstance(day, date) else day)]


class Price(_Entry):
    """What a model takes: for a million tokens, in dollars, and in a question."""

    prompt: float = Field(ge=0)
    cached: float = Field(ge=0)
    output: float = Field(ge=0)
    batch: float = Field(default=1, ge=0, le=1)
    """Times that, for what is asked in batches."""
    cached_hour: float = Field(default=0, ge=0)
    """To keep a prompt for an hour."""
    cached_least: int = Field(default=0, ge=0)
    """Tokens below which no prompt is kept."""
    thinking: int = Field(default=0, ge=0)
    """Tokens that the model thinks before it answers, where it is told to think least; paid as an answer's."""
    thinking_level: Literal["", "minimal", "low", "medium", "high"] = ""
    """How it is told so; empty where by that number, or not at all."""
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What a question in the OpenAI shape calls the most tokens of an answer."""
    temperature: bool = True
    """Whether such a question may say one; OpenAI's models that think refuse it."""

    def of(self, usage: Usage, *, batch: bool = False) -> float:
        """What the tokens cost, in dollars."""
        return sum(self.by_kind(usage, batch=batch).values())

    def by_kind(self, usage: Usage, *, batch: bool = False) -> dict[str, float]:
        """The same for each kind of token."""
        share = {kind: self.batch if batch and kind != "stored" else 1 for kind in _KINDS}
        return {kind: getattr(usage, kind) * getattr(self, _KINDS[kind]) * share[kind] / _MILLION for kind in _KINDS}

    def most(
        self, ask: Ask, turns: Iterable[Turn], max_tokens: int, *, batch: bool = False, kept_s: float = 0
    ) -> float:
        """What a question can cost at the most: no tokenizer makes more tokens of a text than it has bytes.

        Its fixed prompt may be put aside with it for so many seconds.
        """
        said = [f"{turn.text}{turn.verdict}" for turn in turns]
        size = len("".join([ask.system, ask.user, str(dict(ask.schema)), *said]).encode())
        stored = len(ask.system.encode()) * kept_s / HOUR
        return self.of(Usage(prompt=size, output=max_tokens + self.thinking, stored=stored), batch=batch)


class Paid(NamedTuple):
    """What an answer cost, in dollars, by the prices of its day, and its tokens."""

    model: str
    usd: float
    usage: Usage
    by_kind: Mapping[str, float] = {}
    """What each kind of token has of it; nothing where that was not written down."""


class Tuning(_Entry):
    """What a tuning service takes for a million tokens: to train, then to ask the tuned model."""

    train: float = Field(ge=0)
    prompt: float = Field(ge=0)
    output: float = Field(ge=0)


class Local(_Entry):
    """A machine of one's own: dollars an hour, hours of training, seconds a poem."""

    hour: float = Field(ge=0)
    train_hours: float = Field(ge=0)
    seconds: float = Field(gt=0)


class Prices(BaseModel):
    """A price list."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    yen_per_dollar: float = Field(gt=0)
    yen_source: str
    models: Mapping[str, Price] = {}
    tuning: Mapping[str, Tuning] = {}
    local: Mapping[str, Local] = {}


FREE = Price(prompt=0, cached=0, output=0, source="nothing is paid", dated="")


def load_prices(path: Path = PRICES) -> Prices:
    """The list in a file. Raises `TeacherError` naming the file, the field and what is allowed."""
    return read_list(path, Prices, TeacherError, "give a price list by --prices")


def price_of(prices: Prices, model: str, path: Path) -> Price:
    """The model's price. Raises `TeacherError` for one that is not in the list."""
    if model not in prices.models:
        known = ", ".join(sorted(prices.models)) or "none"
        raise TeacherError(
            f'{path}: no price for {model!r}, only for {known}; add [models."{model}"] with prompt, cached, output, '
            "source and dated"
        )
    return prices.models[model]


def expected(ask: Ask, answer_characters: int, price: Price, kept_s: float = 0) -> Usage:
    """The tokens that a question will take, by its characters, with the fixed prompt kept for so long, or sent.

    One that is too short for the model to keep is sent.
    """
    system, user, output = (round(n * TOKENS_A_CHARACTER) for n in (len(ask.system), len(ask.user), answer_characters))
    output += price.thinking
    if not kept_s or system < price.cached_least:
        return Usage(prompt=system + user, output=output)
    return Usage(prompt=user, cached=system, output=output, stored=system * kept_s / HOUR)


class Purse:
    """How much may be spent, in dollars; what is out counts at the most that it can cost."""

    def __init__(self, limit: float | None, spent: float, yen_per_dollar: float | None = None) -> None:
        self._limit, self.spent, self._out, self._rate = limit, spent, 0.0, yen_per_dollar
        self._changed = asyncio.Condition()

    async def take(self, most: float) -> None:
        """Put so much aside, waiting for what is out if it may turn out cheaper.

        Raises `TeacherError` if there is not so much left.
        """
        async with self._changed:
            while self._limit is not None and self.spent + self._out + most > self._limit:
                if self._out == 0:
                    raise TeacherError(
                        f"--max-cost: {self._told(self._limit)} allow no further question: {self._told(self.spent)} "
                        f"are spent, the next may cost {self._told(most)}; what was answered is kept; give more"
                    )
                await self._changed.wait()
            self._out += most

    def check(self, most: float) -> None:
        """Raises `TeacherError` if so much is not left."""
        if self._limit is not None and self.spent + self._out + most > self._limit:
            raise TeacherError(
                f"--max-cost: {self._told(self._limit)}, {self._told(self.spent)} of it spent, allow no batch that "
                f"may cost {self._told(most)} with the longest answers; give more, or ask for fewer hands"
            )

    def _told(self, usd: float) -> str:
        return f"${usd:.4f} (¥{usd * self._rate:,.1f})" if self._rate else f"${usd:.4f}"

    async def settle(self, most: float, cost: float) -> None:
        """What was put aside has cost so much."""
        async with self._changed:
            self._out = self._out - most if self._out - most > 1e-12 else 0.0
            self.spent += cost
            self._changed.notify_all()


def ledger(paid: Iterable[Paid], in_doubt_usd: float, prices: Prices) -> dict[str, Any]:
    """What was paid, by model and kind of token, in dollars and yen."""
    by_model: dict[str, list[Paid]] = {}
    for one in paid:
        by_model.setdefault(one.model or "unpaid", []).append(one)
    models: dict[str, dict[str, Any]] = {}
    for model, some in by_model.items():
        tokens = {kind: sum(getattr(one.usage, kind) for one in some) for kind in _KINDS}
        entry = models[model] = {"answers": len(some), "tokens": tokens, "usd": sum(one.usd for one in some)}
        if price := prices.models.get(model):
            kinds = {kind: sum(one.by_kind.get(kind, 0.0) for one in some) for kind in _KINDS}
            entry["usd_by_kind"] = {kind: round(usd, 6) for kind, usd in kinds.items()}
            entry["yen_by_kind"] = {kind: round(usd * prices.yen_per_dollar, 2) for kind, usd in kinds.items()}
            saved = tokens["cached"] * (price.prompt - price.cached) / _MILLION - kinds["stored"]
            entry["saved_by_cache_usd"] = round(saved, 6)
        entry["yen"] = round(entry["usd"] * prices.yen_per_dollar, 2)
        entry["usd"] = round(entry["usd"], 6)
    total = sum(entry["usd"] for entry in models.values())
    return {
        "models": models,
        "usd": round(total, 6),
        "yen": round(total * prices.yen_per_dollar, 2),
        "in_doubt_usd": round(in_doubt_usd, 6),
        "yen_per_dollar": prices.yen_per_dollar,
    }
