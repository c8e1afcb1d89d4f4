"""A server that speaks as much of Gemini's HTTP as a teacher asks for, and its faults, each on demand.

It counts what it would be paid for, so that a test can compare a ledger with the truth.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from poem.composer import compose
from poem.errors import CompositionError
from poem.game import Game
from poem.hand import Hand, Pair
from poem.prompt import pair_line
from poem.shape import encode
from support.local_server import JsonHandler, listening

KEY = "a-key-of-the-test-0123456789"


@dataclass
class Fault:
    """What one answer is instead of a good one."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    finish: str = "STOP"
    text: str | None = None
    withheld: bool = False
    body: str | None = None
    """The whole answer, as it goes over the wire."""
    hang_s: float = 0.0


@dataclass
class GeminiStandIn:
    """What the server knows and has seen."""

    write: Callable[[str, str, int], str]
    """(system, last question, how often that was asked) → the text of an answer."""
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    """Taken one by one by the next questions and batches."""
    asked: list[str] = field(default_factory=list)
    """The last question of each request that was answered with a text."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    output_tokens: int = 0
    prompt_tokens: int = 0
    caches: dict[str, str] = field(default_factory=dict)
    touched: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    """How often a prompt was kept."""
    least_cached: int = 0
    """Characters below which no prompt is kept."""
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    batch_polls: int = 1
    """How often a batch is still running when it is looked at."""
    spoil: Callable[[int], dict[str, Any] | None] = lambda n: None
    """An error for the nth answer of a batch."""
    keyless: bool = False
    """Whether a batch's answers come back without their keys."""
    slow_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self) -> Fault:
        with self.lock:
            return self.faults.pop(0) if self.faults else Fault()

    def generate(self, body: dict[str, Any], fault: Fault) -> dict[str, Any]:
        system = "".join(p["text"] for p in (body.get("systemInstruction") or {}).get("parts", []))
        cached = 0
        if kept := body.get("cachedContent"):
            system = self.caches[kept]
            cached = len(system)
        question = body["contents"][0]["parts"][0]["text"]
        turns = len(body["contents"]) // 2
        prompt = len(system) + sum(len(part["text"]) for c in body["contents"] for part in c["parts"])
        if fault.withheld:
            usage = {"promptTokenCount": prompt, "totalTokenCount": prompt}
            return {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage}
        text = fault.text if fault.text is not None else self.write(system, question, turns)
        if fault.finish == "MAX_TOKENS":
            text = text[: len(text) // 2]
        with self.lock:
            self.asked.append(question)
            self.bodies.append(body)
            self.prompt_tokens += prompt
            self.output_tokens += len(text)
        usage = {"promptTokenCount": prompt, "candidatesTokenCount": len(text), "totalTokenCount": prompt + len(text)}
        if cached:
            usage["cachedContentTokenCount"] = cached
        parts = [] if fault.finish == "SAFETY" else [{"text": text}]
        return {
            "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": fault.finish}],
            "usageMetadata": usage,
        }


@contextmanager
def gemini(write: Callable[[str, str, int], str], **settings: Any) -> Iterator[GeminiStandIn]:
    """The server as long as this lasts."""
    state = GeminiStandIn(write, **settings)

    class Handler(JsonHandler):
        def do_POST(self) -> None:
            body = json.loads(self.body())
            if self.headers.get("x-goog-api-key") != KEY:
                self._error(400, "API key not valid. Please pass a valid API key.")
            elif self.path.endswith(":generateContent"):
                self._generate(body)
            elif self.path.endswith(":batchGenerateContent"):
                self._submit(body)
            elif self.path.endswith("/cachedContents"):
                self._keep(body)
            else:
                self._error(404, f"no {self.path}")

        def do_PATCH(self) -> None:
            self.body()
            name = self._name("cachedContents")
            state.touched[name] += 1
            if name in state.caches:
                self._send(200, {"name": name})
            else:
                self._error(404, "CachedContent not found")

        def do_DELETE(self) -> None:
            state.caches.pop(self._name("cachedContents"), None)
            self._send(200, {})

        def do_GET(self) -> None:
            if self.path.split("?")[0].endswith("/batches"):
                self._send(200, {"operations": [self._told(batch) for batch in state.batches.values()]})
            elif batch := state.batches.get(self._name("batches")):
                batch["polls"] += 1
                self._send(200, self._told(batch))
            else:
                self._error(404, "no such batch")

        def _told(self, batch: dict[str, Any]) -> dict[str, Any]:
            running = batch["polls"] <= state.batch_polls
            about = {"name": batch["name"], "displayName": batch["display"], "model": "models/stand-in"}
            if running:
                return {"name": batch["name"], "metadata": about | {"state": "BATCH_STATE_RUNNING"}}
            answers = {"inlinedResponses": {"inlinedResponses": batch["answers"]}}
            about |= {"state": "BATCH_STATE_SUCCEEDED", "output": answers}
            return {"name": batch["name"], "metadata": about, "done": True, "response": answers}

        def _generate(self, body: dict[str, Any]) -> None:
            fault = state.next_fault()
            time.sleep(fault.hang_s or state.slow_s)
            kept = body.get("cachedContent")
            if kept and kept not in state.caches:
                self._error(403, "CachedContent not found (or permission denied)")
            elif fault.body is not None:
                self.answer(fault.status, fault.body.encode(), fault.headers)
            elif fault.status != 200:
                self._error(fault.status, "on demand", fault.headers)
            else:
                self._send(200, state.generate(body, fault))

        def _submit(self, body: dict[str, Any]) -> None:
            if (fault := state.next_fault()).status != 200:
                self._error(fault.status, "on demand")
                return
            name = f"batches/{len(state.batches) + 1}"
            requests = body["batch"]["inputConfig"]["requests"]["requests"]
            answers = []
            for n, one in enumerate(requests):
                error = state.spoil(n)
                answer = {"error": error} if error else {"response": state.generate(one["request"], Fault())}
                answers.append(answer | ({} if state.keyless else {"metadata": one["metadata"]}))
            display = body["batch"].get("displayName", "")
            state.batches[name] = {"name": name, "answers": answers, "polls": 0, "display": display}
            self._send(200, self._told(state.batches[name]))

        def _keep(self, body: dict[str, Any]) -> None:
            text = "".join(part["text"] for part in body["systemInstruction"]["parts"])
            if len(text) < state.least_cached:
                self._error(400, "Cached content is too small.")
                return
            state.kept += 1
            name = f"cachedContents/{state.kept}"
            state.caches[name] = text
            self._send(200, {"name": name, "model": body["model"], "usageMetadata": {"totalTokenCount": len(text)}})

        def _name(self, kind: str) -> str:
            found = re.search(rf"({kind}/[^?:]+)", self.path)
            return found.group(1) if found else ""

        def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
            self._send(status, {"error": {"code": status, "message": message, "status": "ERROR"}}, headers)

        def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # the asker was killed
                self.tell(status, body, headers)

    with listening(Handler) as state.url:
        yield state


def poet(game: Game) -> Callable[[str, str, int], str]:
    """Whoever puts poems together for the hands that are asked: under another title each time that a hand is."""
    pairs = {pair_line(Pair(card, wording)): Pair(card, wording) for card in game.deck.cards for wording in card.poems}

    def write(_: str, question: str, turns: int) -> str:
        lines = [line.split(". ", 1)[-1] for line in question.split("\n")]
        hand = Hand(tuple(pairs[line] for line in lines[1:6]))
        titles = lines[7:][turns % 4 :: 4] or lines[7:]
        try:
            return encode(compose(game, hand, titles, Random(question).getrandbits(20) + turns).answer)
        except CompositionError:
            return "{}"

    return write
