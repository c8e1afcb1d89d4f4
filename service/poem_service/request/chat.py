"""The bytes of a chat in OpenAI's shape → what the model is asked; and that → its answer.

No fallback stands behind it: whoever talks to a model wants that model's word or none.
"""

import secrets
import time
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated, Any, Literal

import msgspec

from poem.game import Game
from poem.hand import Hand, draw_candidates
from poem.prompt import render_prompt
from poem.shape import answer_schema
from poem_service.engine.formats import NOT_UNDERSTOOD
from poem_service.engine.protocol import ANSWER_TOKENS_MAX, Ask, Chat, Engine, Form, Message
from poem_service.errors import AnswerError, ChatError, CutError, EngineError, Reason, RefusedError, RequestError
from poem_service.request.answer import read_outline
from poem_service.request.asking import OnText, draft
from poem_service.request.intake import read_hand
from poem_service.request.writer import Writer
from poem_service.watch.keeper import Keeper
from poem_service.watch.ladder import FallBack, Situation, next_step, reserve_s

_SEEDS = 2**31
NOT_HERE = ("tools", "functions", "stop", "logprobs", "audio")
"""What OpenAI's servers know and an answer of ours would silently lack."""


class ChatPart(msgspec.Struct):
    """A part of a message's text."""

    type: Literal["text"]
    text: str


class ChatMessage(msgspec.Struct):
    """What was said, and by whom."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ChatPart]


class ChatSchema(msgspec.Struct):
    """The JSON schema of an answer."""

    schema: dict[str, Any]


class ChatFormat(msgspec.Struct):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: ChatSchema | None = None


class ChatBody(msgspec.Struct):
    """As OpenAI's API has it; beside or instead of messages a hand, which is prompted as the game's is."""

    model: str
    messages: list[ChatMessage] = []
    stream: bool | None = None
    response_format: ChatFormat | None = None
    seed: int | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    n: Literal[1] | None = None
    selectedPairs: Any = None  # noqa: N815  (the game's own name)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat, the model that it is for, and whether its answer streams."""

    chat: Chat
    model: str
    stream: bool
    hand: Hand | None = None
    """That the chat is about, if it is."""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said, and whether it came to its end or to the limit."""

    text: str
    finish: Literal["stop", "length"]


def read_chat(body: bytes, game: Game, policy: Literal["open", "known"]) -> ChatRequest:
    """The chat in a body; one with `selectedPairs` is prompted as a hand of the game is. Raises `ChatError`."""
    try:
        found = msgspec.json.decode(body)
        sent = msgspec.convert(found, ChatBody)
    except (ValueError, RecursionError) as error:
        raise _bad(str(error)) from error
    if unknown := [name for name in NOT_HERE if found.get(name)]:
        raise _bad(f"{', '.join(unknown)}: not known here; leave it out")
    seed = secrets.randbelow(_SEEDS) if sent.seed is None else sent.seed % _SEEDS
    messages, form = _messages(found.get("messages") or []), _form(sent.response_format)
    hand, candidates = None, tuple[str, ...]()
    if sent.selectedPairs is not None:
        hand, candidates = _hand(body, game, policy), draw_candidates(game.deck, Random(seed))
        messages, form = render_prompt(game.instructions, hand, candidates).messages(), answer_schema(candidates)
    if not messages:
        raise _bad("messages: empty; give at least one, or selectedPairs")
    limits = [n for n in (sent.max_completion_tokens, sent.max_tokens) if n is not None]
    tokens_max = min(*limits, ANSWER_TOKENS_MAX) if limits else None
    chat = Chat(tuple(messages), seed, form, tokens_max, sent.temperature, sent.top_p)
    return ChatRequest(chat, sent.model, bool(sent.stream), hand, candidates)


def _messages(sent: list[Message]) -> list[Message]:
    """As they are; a content in parts is one text, which every engine takes."""
    return [
        message
        if isinstance(message["content"], str)
        else message | {"content": "\n".join(part["text"] for part in message["content"])}
        for message in sent
    ]


def _form(sent: ChatFormat | None) -> Form:
    if sent is None or sent.type == "text":
        return None
    if sent.type == "json_object":
        return "json"
    if sent.json_schema is None:
        raise _bad("response_format.json_schema: missing; json_schema needs one")
    return sent.json_schema.schema


def _hand(body: bytes, game: Game, policy: Literal["open", "known"]) -> Hand:
    try:
        return read_hand(body, game.deck, policy)
    except RequestError as error:
        raise _bad(f"selectedPairs: {error.message}") from error


def _bad(message: str) -> ChatError:
    return ChatError(400, message, "invalid_request")


def away(reason: Reason) -> ChatError:
    """The model does not answer now."""
    return ChatError(503, f"The model does not answer now ({reason}); try again later.", reason)


def is_named(name: str, asked: str) -> bool:
    """Whether a model is meant; its tag may be left out where it is the usual one."""
    return asked in (name, name.removesuffix(":latest"))


def _name(keeper: Keeper) -> str:
    return facts.name if (facts := keeper.standing.facts) else ""


class Chats:
    """Takes chats to the model, among the hands of the players: the same queue, slots, patience and deadline."""

    def __init__(self, writer: Writer, deadline_s: float) -> None:
        self._writer = writer
        self._deadline_s = deadline_s

    def models(self) -> list[str]:
        """The names of the models that answer now, each once."""
        keepers = self._writer.fleet.keepers
        return list(dict.fromkeys(_name(keeper) for keeper in keepers if self._obstacle(keeper) is None))

    async def answer(self, asked: ChatRequest, on_text: OnText) -> Reply:
        """What the model says, told to `on_text` as it comes. Raises `ChatError`."""
        texts: list[str] = []

        def heard(text: str) -> None:
            texts.append(text)
            on_text(text)

        try:
            async with self._writer.until_stopped():
                finish = await self._ask(asked, heard)
        except TimeoutError as error:
            self._writer.metrics.count_chat(Reason.STOPPING)
            raise away(Reason.STOPPING) from error
        except ChatError as error:
            self._writer.metrics.count_chat(error.code)
            raise
        self._writer.metrics.count_chat(finish)
        return Reply("".join(texts), finish)

    def _obstacle(self, keeper: Keeper) -> Reason | None:
        """How well it writes poems is no matter of a chat's."""
        return self._writer.obstacle(keeper, time.monotonic(), on_trial=True)

    def _keeper(self, model: str) -> Keeper:
        """Of the engine that has the model and would be done first."""
        keepers = self._writer.fleet.keepers
        known = [keeper for keeper in keepers if is_named(_name(keeper), model)]
        if not known and (names := self.models()):
            raise ChatError(404, f"The model {model!r} is not served here; {', '.join(names)}.", "model_not_found")
        ready = [keeper for keeper in known if self._obstacle(keeper) is None]
        return min(ready or known or keepers, key=Keeper.due)

    async def _ask(self, asked: ChatRequest, on_text: OnText) -> Literal["stop", "length"]:
        keeper = self._keeper(asked.model)
        slots = keeper.slots
        room, begun = self._deadline_s - reserve_s(self._deadline_s), time.monotonic()
        answer_s = pace.answer_s if (pace := keeper.standing.pace) else 0.0
        step = next_step(Situation(room, self._obstacle(keeper), answer_s, False, slots.ahead, slots.size))
        if isinstance(step, FallBack):
            raise away(step.reason)
        async with slots.hold(step.limit_s) as held:
            if (obstacle := self._obstacle(keeper) if held else Reason.BUSY) is not None:
                raise away(obstacle)
            assert keeper.engine is not None
            try:
                until = begun + room
                chat = await _outlined(self._writer.game, keeper, keeper.engine, asked, until - time.monotonic())
                left_s = until - time.monotonic()
                await draft(keeper, keeper.engine.chat(chat), left_s, stream=True, on_text=on_text)
            except CutError:
                return "length"
            except EngineError as error:
                if isinstance(error, RefusedError) and error.status in NOT_UNDERSTOOD:
                    raise _bad("the model's server takes no such messages, limits or response_format") from error
                keeper.note_failure(error)
                raise away(error.reason) from error
        return "stop"


async def _outlined(game: Game, keeper: Keeper, engine: Engine, asked: ChatRequest, limit_s: float) -> Chat:
    """The chat as its model was trained to be asked: a hand's poem by an outline, where it writes in two stages.

    An outline that is cut is no end of an answer: nothing of it was shown.
    """
    if asked.hand is None or keeper.training.stages == 1:
        return asked.chat
    first = Ask.for_outline(game, asked.hand, asked.candidates, asked.chat.seed)
    try:
        outlined = await draft(keeper, engine.write(first), limit_s, stream=first.stream)
    except CutError as error:
        raise AnswerError(error.reason, error.seen) from error
    ask = Ask.by_outline(game, read_outline(outlined.text, asked.candidates), asked.chat.seed)
    return replace(asked.chat, messages=tuple(ask.prompt.messages()), form=ask.schema)
