"""Any server of the OpenAI shape as an engine: `/v1/chat/completions`, streamed → the answer's pieces.

llama-server, LM Studio and vLLM take the same JSON schema here. A server that ignores it is caught by the
rules, and one that wraps its JSON in talk is understood.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from poem.shape import answer_schema
from poem_service.engine.protocol import ANSWER_BYTES_MAX, Ask, ModelFacts, Piece
from poem_service.engine.upstream import Upstream
from poem_service.errors import AnswerError, Reason, UnavailableError

ANSWER_TOKENS_MAX = 1024


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: object = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class OpenAIEngine:
    """A model of a server that speaks the OpenAI shape."""

    name = "openai"

    def __init__(self, url: str, model: str, key: str | None = None) -> None:
        self._upstream = Upstream(url.removesuffix("/v1"), {"authorization": f"Bearer {key}"} if key else None)
        self._model = model

    async def inspect(self) -> ModelFacts:
        listed = await self._upstream.get_json("/v1/models")
        entries = listed.get("data") if isinstance(listed, dict) else None
        names = [entry.get("id") for entry in entries or [] if isinstance(entry, dict)]
        if self._model not in names:
            raise UnavailableError(Reason.MODEL_MISSING, f"{self._model} is not among {len(names)} models")
        return ModelFacts(self._model)

    async def load(self) -> None:
        return None  # such a server lists only what it serves

    async def write(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        schema = {"name": "poem", "strict": True, "schema": answer_schema(ask.candidates)}
        body = {
            "model": self._model,
            "messages": ask.prompt.messages(),
            "response_format": {"type": "json_schema", "json_schema": schema},
            "seed": ask.seed,
            "max_tokens": ANSWER_TOKENS_MAX,
            "stream": True,
        }
        total, finish = 0, None
        async with aclosing(self._upstream.post_lines("/v1/chat/completions", body)) as reads:
            async for lines in reads:
                choices = [choice for line in lines.split(b"\n") for choice in _choices(line)]
                texts = [choice.delta.content for choice in choices if choice.delta.content]
                finish = next((c.finish_reason for c in choices if c.finish_reason), finish)
                total += sum(map(len, texts))
                if total > ANSWER_BYTES_MAX:
                    raise AnswerError(Reason.MALFORMED, f"over {ANSWER_BYTES_MAX} characters")
                if texts:
                    yield Piece("".join(texts), len(texts))
        if finish != "stop":
            raise AnswerError(Reason.INCOMPLETE, f"finish_reason {finish!r}")

    async def aclose(self) -> None:
        await self._upstream.aclose()


def _choices(line: bytes) -> list[_Choice]:
    """The first choice of an event's line; nothing for other lines and for `[DONE]`."""
    event = line.strip().removeprefix(b"data:").strip()
    if not event or event == b"[DONE]" or not line.startswith(b"data:"):
        return []
    try:
        chunk = _CHUNK.decode(event)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnswerError(Reason.MALFORMED, f"an event of the stream: {error}") from error
    if chunk.error is not None:
        raise AnswerError(Reason.UPSTREAM_ERROR, str(chunk.error)[:200])
    return chunk.choices[:1]
