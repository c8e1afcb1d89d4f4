"""Ollama as an engine: `/api/chat` with the answer's shape as JSON schema → the answer's pieces.

Only the seed and a chat's own sampling go with a request: options such as num_ctx or num_thread would reload the
model, so they stand in the Modelfile. `think` is false because an unset one means true for a model that can.
"""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import msgspec
from aiohttp import ClientTimeout

from poem.model_keys import read_note
from poem_service.engine.formats import Format, Formats
from poem_service.engine.protocol import ALIVE, Ask, Bound, Chat, Message, ModelFacts, Piece, Training
from poem_service.engine.upstream import LOADING, QUICK, WRITING, Upstream
from poem_service.errors import AnswerError, CutError, Reason, UnavailableError

KEEP_FOR_EVER = -1


class _Message(msgspec.Struct):
    content: str = ""
    thinking: str = ""


class _Chunk(msgspec.Struct):
    message: _Message = msgspec.field(default_factory=_Message)
    done: bool = False
    done_reason: str | None = None
    error: str | None = None
    eval_count: int = 0
    eval_duration: int = 0


_CHUNK = msgspec.json.Decoder(_Chunk)


class OllamaEngine:
    """A model of an Ollama server."""

    name = "ollama"

    def __init__(self, url: str, model: str) -> None:
        self._upstream = Upstream(url)
        self._model = model if ":" in model.rpartition("/")[2] else f"{model}:latest"
        self._shown: tuple[str | None, Training] | None = None  # of which digest
        self._formats = Formats()

    async def inspect(self) -> ModelFacts:
        listed = _models(await self._upstream.get_json("/api/tags"))
        entry = next((m for m in listed if m.get("name") == self._model), None)
        if entry is None:
            raise UnavailableError(Reason.MODEL_MISSING, f"{self._model} is not among {len(listed)} models")
        digest = entry.get("digest")
        if self._shown is None or self._shown[0] != digest:
            self._shown = (digest, await self._training())
        running = _models(await self._upstream.get_json("/api/ps"))
        mine = next((m for m in running if m.get("digest") == digest), None)  # two names may share a runner
        return ModelFacts(self._model, digest, self._shown[1], mine is not None, _vram_share(mine))

    async def load(self) -> None:
        await self._keep(KEEP_FOR_EVER, LOADING)

    async def unload(self) -> None:
        await self._keep(0, QUICK)

    def write(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        messages, told = ask.prompt.messages(), {"options": {"seed": ask.seed}}
        ways: list[Format] = [{"format": ask.schema} | told, {"format": "json"} | told, told]
        return self._formats.write(ways, partial(self._stream if ask.stream else self._whole, messages))

    def chat(self, chat: Chat) -> AsyncGenerator[Piece, None]:
        told = {
            "seed": chat.seed,
            "num_predict": chat.tokens_max,
            "temperature": chat.temperature,
            "top_p": chat.top_p,
        }
        form: Format = {"options": {name: value for name, value in told.items() if value is not None}}
        return self._stream(list(chat.messages), form if chat.form is None else form | {"format": chat.form})

    async def _stream(self, messages: list[Message], form: Format) -> AsyncGenerator[Piece, None]:
        bound = Bound()
        async with self._upstream.post_lines("/api/chat", self._body(messages, form) | {"stream": True}) as reads:
            async for lines in reads:
                if not lines:
                    yield ALIVE
                    continue
                if not (chunks := _decode(lines)):
                    continue
                last = chunks[-1]
                reads.whole = last.done and last.done_reason == "stop"
                yield _piece(chunks, bound)
                if last.done:
                    _refuse_cut(last)
                    return
        raise AnswerError(Reason.INCOMPLETE, "the stream ended without done")

    async def _whole(self, messages: list[Message], form: Format) -> AsyncGenerator[Piece, None]:
        body = self._body(messages, form) | {"stream": False}
        found = await self._upstream.post_json("/api/chat", body, WRITING)
        try:
            chunk = msgspec.convert(found, _Chunk)
        except msgspec.ValidationError as error:
            raise AnswerError(Reason.MALFORMED, f"the answer: {error}") from error
        if chunk.error is not None:
            raise AnswerError(Reason.UPSTREAM_ERROR, chunk.error[:200])
        _refuse_cut(chunk)
        yield _piece([chunk], Bound())._replace(tokens=chunk.eval_count, writing_s=chunk.eval_duration / 1e9 or None)

    async def _keep(self, seconds: int, patience: ClientTimeout) -> None:
        """A chat without messages writes nothing, and says how long the model stays in memory."""
        body = {"model": self._model, "messages": [], "keep_alive": seconds, "stream": False}
        await self._upstream.post_json("/api/chat", body, patience)

    def _body(self, messages: list[Message], form: Format) -> dict[str, Any]:
        own = {"model": self._model, "messages": messages, "think": False, "keep_alive": KEEP_FOR_EVER}
        return own | form

    async def aclose(self) -> None:
        await self._upstream.aclose()

    async def _training(self) -> Training:
        shown = await self._upstream.post_json("/api/show", {"model": self._model})
        info, template = (shown.get(name) if isinstance(shown, dict) else None for name in ("model_info", "template"))
        told = info if isinstance(info, dict) else {}
        return Training.of(told | read_note(template) if isinstance(template, str) else told)


def _decode(lines: bytes) -> list[_Chunk]:
    try:
        chunks = _CHUNK.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnswerError(Reason.MALFORMED, f"a line of the stream: {error}") from error
    for chunk in chunks:
        if chunk.error is not None:
            raise AnswerError(Reason.UPSTREAM_ERROR, chunk.error[:200])
    return chunks


def _piece(chunks: list[_Chunk], bound: Bound) -> Piece:
    text = "".join([chunk.message.content for chunk in chunks])
    bound.add(text)
    thought = "".join([chunk.message.thinking for chunk in chunks])
    return Piece(text, sum(1 for chunk in chunks if chunk.message.content or chunk.message.thinking), thought)


def _refuse_cut(chunk: _Chunk) -> None:
    if chunk.done and chunk.done_reason == "length":
        raise CutError("done_reason 'length'")
    if not chunk.done or chunk.done_reason != "stop":
        raise AnswerError(Reason.INCOMPLETE, f"done {chunk.done}, done_reason {chunk.done_reason!r}")


def _models(listed: Any) -> list[dict[str, Any]]:
    models = listed.get("models") if isinstance(listed, dict) else None
    return [m for m in models or [] if isinstance(m, dict)]


def _vram_share(running: dict[str, Any] | None) -> float | None:
    if running is None or not running.get("size"):
        return None
    return float(running.get("size_vram", 0)) / float(running["size"])
