"""Any server of the OpenAI shape as an engine: `/v1/chat/completions` → the answer's pieces.

llama-server, LM Studio and vLLM take the same JSON schema here; a server that refuses it is asked less
strictly. One that ignores it is caught by the rules, and one that wraps its JSON in talk or thinks aloud
before it is understood.
"""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import msgspec

from poem_service.engine.formats import Format, Formats
from poem_service.engine.protocol import ALIVE, ANSWER_TOKENS_MAX, Ask, Bound, Chat, Form, Message, ModelFacts, Piece
from poem_service.engine.upstream import WRITING, Upstream
from poem_service.errors import AnswerError, CutError, Reason, UnavailableError

_DONE = b"[DONE]"


class _Message(msgspec.Struct):
    """A delta of a stream, or the whole message."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    @property
    def thought(self) -> str:
        return self.reasoning_content or self.reasoning or ""


class _Choice(msgspec.Struct):
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Timings(msgspec.Struct):
    """llama-server's own."""

    predicted_ms: float = 0.0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: object = None
    usage: _Usage | None = None
    timings: _Timings | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class OpenAIEngine:
    """A model of a server that speaks the OpenAI shape."""

    name = "openai"

    def __init__(self, url: str, model: str, key: str | None = None) -> None:
        self._upstream = Upstream(url.removesuffix("/v1"), {"authorization": f"Bearer {key}"} if key else None)
        self._model = model
        self._formats = Formats()

    async def inspect(self) -> ModelFacts:
        listed = await self._upstream.get_json("/v1/models")
        entries = listed.get("data") if isinstance(listed, dict) else None
        names = [entry.get("id") for entry in entries or [] if isinstance(entry, dict)]
        if self._model not in names:
            raise UnavailableError(Reason.MODEL_MISSING, f"{self._model} is not among {len(names)} models")
        return ModelFacts(self._model)

    async def load(self) -> None:
        return None  # such a server lists only what it serves

    async def unload(self) -> None:
        return None  # nor has it a word for this

    def write(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        limited = {"seed": ask.seed, "max_tokens": ANSWER_TOKENS_MAX}
        ways: list[Format] = [
            _response_format(ask.schema) | limited,
            _response_format("json") | limited,
            limited,
            {"max_completion_tokens": ANSWER_TOKENS_MAX},
        ]
        return self._formats.write(ways, partial(self._stream if ask.stream else self._whole, ask.prompt.messages()))

    def chat(self, chat: Chat) -> AsyncGenerator[Piece, None]:
        told = {
            "seed": chat.seed,
            "max_tokens": chat.tokens_max or ANSWER_TOKENS_MAX,
            "temperature": chat.temperature,
            "top_p": chat.top_p,
        }
        form = {name: value for name, value in told.items() if value is not None}
        return self._stream(list(chat.messages), _response_format(chat.form) | form)

    async def _stream(self, messages: list[Message], form: Format) -> AsyncGenerator[Piece, None]:
        bound, finish = Bound(), None
        body = self._body(messages, form) | {"stream": True}
        async with self._upstream.post_lines("/v1/chat/completions", body) as reads:
            async for lines in reads:
                if not lines:
                    yield ALIVE
                    continue
                events = [line.removeprefix(b"data:").strip() for line in lines.split(b"\n") if line[:5] == b"data:"]
                ended = _DONE in events
                choices = [choice for event in events if event and event != _DONE for choice in _choices(event)]
                finish = next((c.finish_reason for c in choices if c.finish_reason), finish)
                reads.whole = ended and finish == "stop"
                deltas = [choice.delta for choice in choices if choice.delta]
                text = "".join([delta.content for delta in deltas if delta.content])
                bound.add(text)
                thought = "".join([delta.thought for delta in deltas])
                if text or thought:
                    yield Piece(text, sum(1 for delta in deltas if delta.content or delta.thought), thought)
                if ended:
                    break
        _refuse_cut(finish)

    async def _whole(self, messages: list[Message], form: Format) -> AsyncGenerator[Piece, None]:
        body = self._body(messages, form) | {"stream": False}
        found = await self._upstream.post_json("/v1/chat/completions", body, WRITING)
        try:
            chunk = msgspec.convert(found, _Chunk)
        except msgspec.ValidationError as error:
            raise AnswerError(Reason.MALFORMED, f"the answer: {error}") from error
        _refuse_error(chunk)
        choice = chunk.choices[0] if chunk.choices else _Choice()
        _refuse_cut(choice.finish_reason)
        message = choice.message or _Message()
        text = message.content or ""
        Bound().add(text)
        writing_s = chunk.timings.predicted_ms / 1000 if chunk.timings else None
        yield Piece(text, chunk.usage.completion_tokens if chunk.usage else 0, message.thought, writing_s or None)

    def _body(self, messages: list[Message], form: Format) -> dict[str, Any]:
        return {"model": self._model, "messages": messages} | form

    async def aclose(self) -> None:
        await self._upstream.aclose()


def _choices(event: bytes) -> list[_Choice]:
    """The first choice of an event."""
    try:
        chunk = _CHUNK.decode(event)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnswerError(Reason.MALFORMED, f"an event of the stream: {error}") from error
    _refuse_error(chunk)
    return chunk.choices[:1]


def _refuse_error(chunk: _Chunk) -> None:
    if chunk.error is not None:
        raise AnswerError(Reason.UPSTREAM_ERROR, str(chunk.error)[:200])


def _response_format(form: Form) -> Format:
    """The form of an answer, as such a server is told of it."""
    if form is None:
        return {}
    if form == "json":
        return {"response_format": {"type": "json_object"}}
    schema = {"name": "answer", "strict": True, "schema": form}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _refuse_cut(finish: str | None) -> None:
    if finish == "length":
        raise CutError("finish_reason 'length'")
    if finish != "stop":
        raise AnswerError(Reason.INCOMPLETE, f"finish_reason {finish!r}")
