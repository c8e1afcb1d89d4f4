"""Pairs of poems → a page on which people choose blind, and a line in a file for each choice.

What leaves for a browser names no writer. Each reader has an order of their own, the same whenever they come back, and
sees every pair again the other way round in a second part.
"""

import json
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from poem.hand import Answer
from poem_build.errors import ReadingError
from poem_build.evaluation.people import Pairing, Place, read_chosen, write_chosen
from poem_build.report.templating import environment

_NAME = 40
_BODY = 1000
_IDLE_S = 30
"""A connection that says nothing for so long is closed."""


@dataclass(frozen=True)
class Leaf:
    """Two poems as one reader sees them."""

    pairing: Pairing
    turned: bool

    @property
    def key(self) -> str:
        """As the file has it."""
        return self.pairing.key(turned=self.turned)

    @property
    def answers(self) -> list[Answer]:
        """The left one first."""
        one, other = self.pairing.answers[::-1] if self.turned else self.pairing.answers
        return [answer for answer in (one, other) if answer]


class Choice(BaseModel):
    """What a page sends."""

    model_config = ConfigDict(extra="forbid")
    reader: str
    key: str
    chosen: Place


class ReadingRoom:
    """The pairs, and the file of what was chosen."""

    def __init__(self, pairings: Sequence[Pairing], file: Path) -> None:
        self.pairings = [one for one in pairings if one.default is None]
        self.file = file
        self._lock = threading.Lock()

    @cached_property
    def keys(self) -> frozenset[str]:
        """Of everything that there is to choose."""
        return frozenset(one.key(turned=turned) for one in self.pairings for turned in (False, True))

    def leaves(self, reader: str) -> list[Leaf]:
        """The reader's order, both parts."""
        rng = Random(f"reader {reader}")
        first = [Leaf(one, rng.random() < 0.5) for one in rng.sample(self.pairings, len(self.pairings))]
        return [*first, *(Leaf(leaf.pairing, not leaf.turned) for leaf in rng.sample(first, len(first)))]

    def leaf(self, reader: str, at: int | None) -> dict[str, Any]:
        """What the reader sees at that place, by default the first that they have not chosen in."""
        leaves = self.leaves(reader)
        chosen = read_chosen(self.file).get(reader, {})
        open_ones = [n for n, leaf in enumerate(leaves) if leaf.key not in chosen]
        place = at if at is not None else open_ones[0] if open_ones else len(leaves)
        told: dict[str, Any] = {"at": place, "of": len(leaves), "half": len(self.pairings)}
        if not 0 <= place < len(leaves):
            return told | {"at": len(leaves), "left": len(open_ones)}
        leaf = leaves[place]
        return told | {
            "key": leaf.key,
            "cards": [[one.card.condition_text, one.wording.poem_text] for one in leaf.pairing.hand.pairs],
            "poems": [{"title": answer.title, "poem": answer.poem.split("\n")} for answer in leaf.answers],
            "chosen": {0: "first", 1: "second", None: "same"}[chosen[leaf.key]] if leaf.key in chosen else "",
        }

    def choose(self, body: bytes) -> None:
        """Keep a choice. Raises `ReadingError` for what is none."""
        try:
            asked = Choice.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            raise ReadingError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        if asked.key not in self.keys:
            raise ReadingError("key: of no pair that is read here")
        with self._lock:
            write_chosen(self.file, _reader(asked.reader), asked.key, asked.chosen)


def _reader(name: str) -> str:
    """A reader's name, blanks around it left out. Raises `ReadingError` for none."""
    text = name.strip()
    if not 0 < len(text) <= _NAME or not text.isprintable():
        raise ReadingError(f"a reader's name has 1 to {_NAME} letters")
    return text


def serve(room: ReadingRoom, host: str, port: int) -> ThreadingHTTPServer:
    """The server at that address, for `serve_forever` to run. Raises `ReadingError` if it is taken."""
    nonce = secrets.token_urlsafe(16)
    page = environment().get_template("reading.html").render(nonce=nonce).encode()
    policy = f"default-src 'none'; connect-src 'self'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"

    class Handler(BaseHTTPRequestHandler):
        """`/` is the page, `/leaf` what a reader sees next, `/choice` what they chose."""

        timeout = _IDLE_S

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/":
                self._send(HTTPStatus.OK, "text/html; charset=utf-8", page)
            elif parts.path == "/leaf":
                self._answer(lambda: self._leaf(parse_qs(parts.query)))
            else:
                self._tell(HTTPStatus.NOT_FOUND, {"error": "nothing here"})

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            plain = self.headers.get("Content-Type") == "application/json"  # a form of another site cannot send it
            if self.path != "/choice" or not plain or not length.isdecimal() or int(length) > _BODY:
                self._tell(HTTPStatus.BAD_REQUEST, {"error": "POST /choice takes a little JSON"})
                return
            body = self.rfile.read(int(length))
            self._answer(lambda: room.choose(body))

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the terminal is for the address."""

        def _leaf(self, asked: dict[str, list[str]]) -> dict[str, Any]:
            at = asked.get("at", [""])[0]
            return room.leaf(_reader(asked.get("reader", [""])[0]), int(at) if at.isdecimal() else None)

        def _answer(self, act: Any) -> None:
            try:
                self._tell(HTTPStatus.OK, act() or {})
            except ReadingError as error:
                self._tell(HTTPStatus.BAD_REQUEST, {"error": str(error)})

        def _tell(self, status: HTTPStatus, told: dict[str, Any]) -> None:
            self._send(status, "application/json", json.dumps(told, ensure_ascii=False).encode())

        def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(body)),
                "Content-Security-Policy": policy,
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "no-store",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise ReadingError(f"--host {host} --port {port}: {error.strerror}; give another") from error
