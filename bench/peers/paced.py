"""An upstream that writes as models do: a token at a time, or the whole answer after the same time.

    python bench/peers/paced.py PORT SECONDS FOLDER

`SECONDS` is what an answer takes; with 0 all of it goes out in one write, as a file server would send it. FOLDER
holds the fixed answers (`service_speed.write_answers`). Speaks Ollama's and OpenAI's shape, streamed and whole.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"


def main(port: int, seconds: float, folder: Path) -> None:
    """Serve until killed."""
    lines = (folder / "lines.ndjson").read_bytes().splitlines(keepends=True)
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]
    text = "".join(line["message"]["content"] for line in told)
    last = told[-1] | {"message": {"role": "assistant", "content": text}, "eval_count": len(told)}
    last["eval_duration"] = int(seconds * 1e9)
    events = [_event({"delta": {"content": line["message"]["content"]}, "finish_reason": None}) for line in told[:-1]]
    events += [_event({"delta": {}, "finish_reason": "stop"}), b"data: [DONE]\n\n"]
    whole = {
        "/api/chat": json.dumps(last, ensure_ascii=False).encode(),
        "/v1/chat/completions": (folder / "v1/chat/completions").read_bytes(),
    }
    streamed = {"/api/chat": lines, "/v1/chat/completions": events}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                path = head.split(" ", 2)[1]
                length = next(
                    (int(h.split(":")[1]) for h in head.split("\r\n") if h.lower().startswith("content-length")), 0
                )
                body = await reader.readexactly(length)
                if path not in whole:
                    _write(writer, (folder / path.lstrip("/")).read_bytes())
                elif b'"stream":false' in body.replace(b" ", b"") or (path[1] == "v" and b'"stream"' not in body):
                    await asyncio.sleep(seconds)
                    _write(writer, whole[path])
                else:
                    await _stream(writer, streamed[path], seconds)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
            await server.serve_forever()

    uvloop.run(serve())


async def _stream(writer: asyncio.StreamWriter, lines: list[bytes], seconds: float) -> None:
    head = _HEAD % (b"text/event-stream" if lines[0].startswith(b"data:") else b"application/x-ndjson")
    chunks = [f"{len(line):x}\r\n".encode() + line + b"\r\n" for line in lines]
    if not seconds:
        writer.write(head + b"".join(chunks) + _END)
        return
    writer.write(head)
    for chunk in chunks:
        writer.write(chunk)
        await asyncio.sleep(seconds / len(chunks))
    writer.write(_END)


def _write(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )


def _event(choice: dict[str, Any]) -> bytes:
    fields = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "fixed"}
    return b"data: " + json.dumps(fields | {"choices": [{"index": 0} | choice]}, ensure_ascii=False).encode() + b"\n\n"


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
