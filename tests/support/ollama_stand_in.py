"""A real HTTP server with Ollama's answers, and with its faults: each fault is a function that does exactly that."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import Answer, hand_of
from poem.shape import encode

MODEL = "mansion-poem:latest"
_TITLE = re.compile(r"(?m)^\d+\. (.+)$")
_LINE = re.compile(r"^[1-5]\. .+?: (.+?) → (.+)$", re.MULTILINE)


@dataclass
class Call:
    """One `/api/chat` that asks for a poem, and the way to answer it."""

    body: dict[str, Any]
    writer: asyncio.StreamWriter
    terminator_s: float = 0.0
    said: str = ""
    raw: bytes = b""

    @property
    def candidates(self) -> tuple[str, ...]:
        return tuple(_TITLE.findall(self.body["messages"][1]["content"].partition("【タイトル選択候補】")[2]))

    @property
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["format"]
        return found

    @property
    def seed(self) -> int:
        return int(self.body["options"]["seed"])

    def right(self) -> Answer:
        """An answer that keeps every rule, if the hand is of the built-in deck."""
        texts = _LINE.findall(self.body["messages"][1]["content"])
        ids = {(c.condition_text, w.poem_text): (c.id, w.id) for c in builtin_game().deck.cards for w in c.poems}
        hand = hand_of(builtin_game().deck, [ids[text] for text in texts])
        return compose(builtin_game(), hand, self.candidates, self.seed).answer

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted line by line; if not, what is said is kept and sent in one."""
        return bool(self.body.get("stream", True))

    async def head(self, status: int = 200, kind: str = "application/x-ndjson") -> None:
        if self.streams:
            head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.writer.write(head.encode())
            await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        if not self.streams:
            self.raw += data
            return
        self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self.writer.drain()

    async def piece(self, text: str) -> None:
        self.said += text
        if self.streams:
            await self.chunk(_line({"model": MODEL, "message": {"role": "assistant", "content": text}, "done": False}))

    async def end(self, reason: str | None = "stop", *, done: bool = True) -> None:
        said = "" if self.streams else self.said
        last = {"model": MODEL, "message": {"role": "assistant", "content": said}, "done": done}
        last |= {"done_reason": reason} if reason else {}
        if self.streams:
            await self.chunk(_line(last))
            await self.terminate()
        else:
            tokens = {"eval_count": len(self.said), "eval_duration": 1_000_000 * len(self.said)}
            await self.answer(200, self.raw or _line(last | tokens))

    async def terminate(self) -> None:
        """The end of a chunked body; a server may take a moment for it."""
        if self.terminator_s:
            await asyncio.sleep(self.terminator_s)
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def answer(self, status: int, body: bytes) -> None:
        """A whole answer."""
        self.writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await self.writer.drain()

    async def text(self, text: str, gap_s: float = 0.0, size: int = 3) -> None:
        for start in range(0, len(text), size):
            await self.piece(text[start : start + size])
            if gap_s:
                await asyncio.sleep(gap_s)

    async def fail(self, message: str) -> None:
        """An error in the middle of the stream."""
        if self.streams:
            await self.chunk(_line({"error": message}))
            await self.terminate()
        else:
            await self.answer(500, _line({"error": message}))


Behaviour = Callable[[Call], Awaitable[None]]


async def right(call: Call) -> None:
    await call.head()
    await call.text(encode(call.right()))
    await call.end()


async def _says(call: Call, answer: Answer) -> None:
    await call.head()
    await call.text(encode(answer))
    await call.end()


async def hang_before(call: Call) -> None:
    await asyncio.sleep(3600)


async def hang_before_first(call: Call) -> None:
    await call.head()
    await asyncio.sleep(3600)


async def hang_amid(call: Call) -> None:
    await call.head()
    await call.text(encode(call.right())[:120])
    await asyncio.sleep(3600)


async def slow_drip(call: Call) -> None:
    await call.head()
    await call.text(encode(call.right()), gap_s=0.5)
    await call.end()


async def _status(call: Call, status: int, error: str) -> None:
    await call.answer(status, json.dumps({"error": error}).encode())


async def status_400(call: Call) -> None:
    await _status(call, 400, "failed to parse grammar")


async def status_404(call: Call) -> None:
    await _status(call, 404, f"model '{MODEL}' not found")


async def status_500(call: Call) -> None:
    await _status(call, 500, "llama runner process has terminated")


async def status_503(call: Call) -> None:
    await _status(call, 503, "server busy, please try again.  maximum pending requests exceeded")


async def redirect(call: Call) -> None:
    call.writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")
    await call.writer.drain()


async def done_false(call: Call) -> None:
    await call.head()
    await call.text(encode(call.right())[:200])
    await call.end(None, done=False)


async def done_length(call: Call) -> None:
    await call.head()
    await call.text(encode(call.right())[:200])
    await call.end("length")


async def error_line(call: Call) -> None:
    await call.head()
    await call.text(encode(call.right())[:60])
    await call.fail("an error was encountered while running the model")


async def cut_body(call: Call) -> None:
    await call.head()
    await call.text(encode(call.right())[:90])
    call.writer.close()


async def reset(call: Call) -> None:
    call.writer.transport.abort()


async def bad_json(call: Call) -> None:
    await call.head()
    await call.text(encode(call.right())[:-2] + ",")
    await call.end()


async def bad_line(call: Call) -> None:
    await call.head()
    await call.chunk(b"<html>proxy error</html>\n")
    await call.end()


async def not_utf8(call: Call) -> None:
    await call.head()
    await call.chunk(b'{"message":{"content":"\xe3\x81"},"done":false}\n')
    await call.end()


async def another_card_s_title(call: Call) -> None:
    others = [title for title in builtin_game().deck.catchphrases if title not in call.candidates]
    await _says(call, Answer(others[0], call.right().poem))


async def unknown_title(call: Call) -> None:
    await _says(call, Answer("知らない題", call.right().poem))


async def extra_key(call: Call) -> None:
    answer = call.right()
    await call.head()
    await call.text(json.dumps({"title": answer.title, "poem": answer.poem, "note": "x"}, ensure_ascii=False))
    await call.end()


async def too_short(call: Call) -> None:
    await _says(call, Answer(call.right().title, "灯りがともる。\n風が渡る。\n夜が来る。"))


async def too_long(call: Call) -> None:
    answer = call.right()
    await _says(call, Answer(answer.title, f"{answer.poem}\n{answer.poem[:60]}。"))


async def endless(call: Call) -> None:
    await call.head()
    await call.text('{"title":"' + "あ" * 40_000, size=1000)
    await call.end()


async def repeated(call: Call) -> None:
    answer = call.right()
    first = answer.poem.split("\n")[0]
    await _says(call, Answer(answer.title, "\n".join([first] * 3)))


async def polite(call: Call) -> None:
    answer = call.right()
    await _says(call, Answer(answer.title, answer.poem[:-3] + "です。"))


async def empty(call: Call) -> None:
    await call.head()
    await call.end()


async def thinks_only(call: Call) -> None:
    """A thinking model that never comes to the point."""
    await call.head()
    thought = {"model": MODEL, "message": {"role": "assistant", "content": "", "thinking": "題は…"}, "done": False}
    if call.streams:
        for _ in range(20):
            await call.chunk(_line(thought))
    await call.end()


async def status_429(call: Call) -> None:
    await _status(call, 429, "too many requests")


async def another_page(call: Call) -> None:
    """A proxy in between answers for the server, and says that all is well."""
    body = b"<!doctype html><title>Sign in</title>"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
    call.writer.write(head.encode() + body)
    await call.writer.drain()


async def blanks(call: Call) -> None:
    """Right, with the blanks between tokens that Ollama's schema mode yields."""
    answer = call.right()
    await call.head()
    await call.text(json.dumps({"title": answer.title, "poem": answer.poem}, ensure_ascii=False, indent=2))
    await call.end()


FAULTS: dict[str, Behaviour] = {
    f.__name__: f
    for f in (
        hang_before,
        hang_before_first,
        hang_amid,
        slow_drip,
        status_400,
        status_404,
        status_500,
        status_503,
        redirect,
        done_false,
        done_length,
        error_line,
        cut_body,
        reset,
        bad_json,
        bad_line,
        not_utf8,
        another_card_s_title,
        unknown_title,
        extra_key,
        too_short,
        too_long,
        endless,
        repeated,
        polite,
        empty,
        thinks_only,
        status_429,
        another_page,
    )
}


@dataclass
class OllamaStandIn:
    """The server; `behave` says how the next poems are answered."""

    behave: Behaviour = right
    digest: str = "sha256:first"
    version: str | None = field(default_factory=lambda: builtin_game().prompt_version)
    stages: str | None = None
    """In which its model says that it writes."""
    verdict: str | None = None
    """Its build's, on its model."""
    template: str = "{{ .Prompt }}"
    size_vram: int = 25
    models: tuple[str, ...] = (MODEL,)
    loaded: bool = True
    load_s: float = 0.0
    calls: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    terminator_s: float = 0.0
    loads: int = 0
    loads_cut: int = 0
    left: int = 0
    """Poems whose asker left before they were whole."""
    port: int = 0
    chat_path: str = "/api/chat"
    call: type[Call] = Call
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Die: every connection is cut."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    await self._request(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        length = re.search(r"(?i)content-length: (\d+)", head)
        body = json.loads(await reader.readexactly(int(length.group(1)))) if length else {}
        if path == self.chat_path and body.get("messages"):
            self.calls.append(body)
            self.heads.append(head)
            await self._or_left(reader, writer, self.behave(self.call(body, writer, self.terminator_s)))
            return
        if path == "/api/chat":
            self.loads += 1
            await self._or_left(reader, writer, asyncio.sleep(self.load_s), load=True)
            self.loaded = True
        if not writer.is_closing():
            data = json.dumps(self._facts(path)).encode()
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
            await writer.drain()

    async def _or_left(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, work: Awaitable[None], *, load: bool = False
    ) -> None:
        """The work, ended when the asker leaves, as Ollama does."""
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_gone(reader))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self.left += not load
                self.loads_cut += load
                writer.close()
            else:
                with suppress(ConnectionError):
                    working.result()
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    def _facts(self, path: str) -> dict[str, Any]:
        named = [
            {"name": name, "digest": self.digest, "size": 100, "size_vram": self.size_vram} for name in self.models
        ]
        match path:
            case "/api/tags":
                return {"models": named}
            case "/api/ps":
                return {"models": named if self.loaded else []}
            case "/api/show":
                told = {"prompt_version": self.version, "stages": self.stages, "verdict": self.verdict}
                ours = {f"mansion_poem.{name}": text for name, text in told.items() if text}
                return {"model_info": {"general.architecture": "qwen2", **ours}, "template": self.template}
            case _:
                return {"done": True, "done_reason": "load"}


async def _gone(reader: asyncio.StreamReader) -> None:
    while not reader.at_eof() and reader.exception() is None:  # an end, or a reset
        await asyncio.sleep(0.005)


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"
