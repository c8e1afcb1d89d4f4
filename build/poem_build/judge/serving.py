"""Held-out hands → how the model is served: which answers end and keep the rules, how fast, and at what memory.

Asked of Ollama under the schema and without it, and of the service with its embedded engine. Nothing is refused here
but what cannot be measured: what a model has to reach stands in the gates of `verify` and `eval`.
"""

import re
import socket
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from poem.hand import Answer
from poem.shape import answer_schema, encode
from poem_build.data.dataset import Example, read_examples
from poem_build.engine.llama import Llama
from poem_build.engine.service import serving
from poem_build.errors import DemoError, OllamaError
from poem_build.export.quantize import FILE as GGUF_FILE
from poem_build.judge.verify import judge
from poem_build.models.chat import trained_prompt
from poem_build.progress import progress
from poem_build.recipe.schema import Recipe
from poem_build.ship import register
from poem_build.store import artifact
from poem_build.store.artifact import Artifact

_EVALUATED = re.compile(rb"prompt eval time =\s*[\d.]+ ms /\s*(\d+) tokens")


@dataclass(frozen=True)
class Reply:
    """One answer of Ollama's: how it ended, and its own figures in tokens and seconds."""

    text: str
    ended: str
    seconds: float
    prompt_tokens: int
    prompt_s: float
    tokens: int
    tokens_s: float

    @property
    def whole(self) -> str | None:
        """The text, if it ended by itself."""
        return self.text if self.ended == "stop" else None


@dataclass(frozen=True)
class Played:
    """A row of hands asked one after the other, and how many prompt tokens were evaluated for each, where known."""

    replies: list[Reply]
    evaluated: list[int] | None


def run(recipe: Recipe, out: Path, host: str, log: Path) -> Artifact:
    """Play `gate.serving_hands` held-out hands through the registered model, and some through the embedded engine.

    `log` is where an Ollama that was started here writes: it alone tells how much of a prompt was evaluated anew.
    Raises `OllamaError` if the model that is served under the recipe's name is not the registered one.
    """
    registered, gguf, dataset = (artifact.load(out, stage) for stage in ("register", "gguf", "dataset"))
    model, gate = recipe.ollama_model, recipe.gate
    if register.digests(host).get(model) != registered.figures["digest"]:
        raise OllamaError(f"OLLAMA_HOST {host}: {model} is not the one that was registered; `poem-build register` it")

    def work(_: Path) -> dict[str, Any]:
        examples = read_examples(dataset.path / "test.jsonl")[: gate.serving_hands]
        shaped = play(host, model, examples, constrained=True, log=log)
        memory = _memory(host, model)
        free = play(host, model, examples, constrained=False)
        return {
            "schema": told_of(shaped.replies, examples) | _delivered(host, model, shaped.replies, examples),
            "free": told_of(free.replies, examples),
            "prompt": prompt_figures(shaped, _prompt_ids(recipe, gguf.path / GGUF_FILE, examples)),
            "memory": memory,
            "embedded": embedded(recipe, out, examples[: gate.embedded_hands]),
        }

    settings = recipe.serve.model_dump() | {"hands": gate.serving_hands, "embedded": gate.embedded_hands}
    inputs = {"registered": registered.figures["digest"], "gguf": gguf.digest, "dataset": dataset.digest}
    settings |= {"ollama": register.server_version(host)}
    return artifact.make(out, "serving", work, settings=settings, inputs=inputs | {"game": artifact.game_digest()})


def play(
    host: str,
    model: str,
    examples: Sequence[Example],
    *,
    constrained: bool,
    options: Mapping[str, float] | None = None,
    log: Path | None = None,
) -> Played:
    """Ask for each example's hand in turn, seeded by its place."""
    start = log.stat().st_size if log and log.is_file() else None
    how = "under the schema" if constrained else "without the schema"
    replies = [
        ask(host, model, example, n, constrained=constrained, options=options)
        for n, example in enumerate(progress(examples, f"playing {how}"))
    ]
    evaluated = None
    if log and start is not None:
        found = [int(count) for count in _EVALUATED.findall(log.read_bytes()[start:])]
        evaluated = found if len(found) == len(replies) else None  # somebody else's requests are among them
    return Played(replies, evaluated)


def ask(
    host: str,
    model: str,
    example: Example,
    seed: int,
    *,
    constrained: bool,
    options: Mapping[str, float] | None = None,
) -> Reply:
    """One hand. `ended` is `stop`, `length`, or `dropped` where Ollama gave up: 30 equal pieces and no `done`."""
    body: dict[str, Any] = {
        "model": model,
        "messages": example.messages()[:-1],
        "options": dict(options or {}) | {"seed": seed},
        "stream": False,
        "think": False,
    }
    if constrained:
        body["format"] = answer_schema(example.candidates)
    start = time.monotonic()
    reply = register.call(host, "POST", "/api/chat", body)
    return Reply(
        text=reply["message"]["content"],
        ended=str(reply.get("done_reason", "stop")) if reply.get("done") else "dropped",
        seconds=time.monotonic() - start,
        prompt_tokens=reply.get("prompt_eval_count", 0),
        prompt_s=reply.get("prompt_eval_duration", 0) / 1e9,
        tokens=reply.get("eval_count", 0),
        tokens_s=reply.get("eval_duration", 0) / 1e9,
    )


def told_of(replies: Sequence[Reply], examples: Sequence[Example]) -> dict[str, Any]:
    """Endings, rules and speed of the replies; the first one's seconds hold the loading and are left out."""
    later = replies[1:] or replies
    timed = [reply for reply in replies if reply.tokens_s]
    return judge([reply.whole for reply in replies], examples) | {
        "ended": dict(Counter(reply.ended for reply in replies).most_common()),
        "seconds": _spread([reply.seconds for reply in later]),
        "tokens": _spread([reply.tokens for reply in replies]),
        "tokens_per_second": round(sum(r.tokens for r in timed) / sum(r.tokens_s for r in timed), 1) if timed else None,
    }


def _delivered(host: str, model: str, replies: Sequence[Reply], examples: Sequence[Example]) -> dict[str, int]:
    """How many hands the model answers when a failed one is asked once more, as the service does."""
    failed = [n for n, (r, e) in enumerate(zip(replies, examples, strict=True)) if not judge([r.whole], [e])["passed"]]
    again = [ask(host, model, examples[n], n + len(examples), constrained=True) for n in failed]
    saved = judge([reply.whole for reply in again], [examples[n] for n in failed])["passed"]
    return {"delivered": len(replies) - len(failed) + saved}


def prompt_figures(played: Played, ids: Sequence[Sequence[int]]) -> dict[str, Any]:
    """From the second hand on: a prompt's tokens, those that differ from the prompt before, and those evaluated."""
    new = [len(now) - _common(before, now) for before, now in pairwise(ids)]
    later = played.replies[1:]
    return {
        "tokens": round(statistics.mean(reply.prompt_tokens for reply in later), 1),
        "new": round(statistics.mean(new), 1),
        "evaluated": round(statistics.mean(played.evaluated[1:]), 1) if played.evaluated else None,
        "first_s": round(played.replies[0].prompt_s, 3),
        "later_s": _spread([reply.prompt_s for reply in later]),
    }


def embedded(recipe: Recipe, out: Path, examples: Sequence[Example]) -> dict[str, Any]:
    """The same hands through the service with its embedded engine, which draws the title candidates itself."""
    import httpx

    port = _free_port()
    sources: Counter[str] = Counter()
    seconds, rates = [], []
    tokenizer = Llama(out / "gguf" / GGUF_FILE, vocab_only=True)
    with serving(recipe, out, port, None) as service, httpx.Client(base_url=service.url, timeout=90) as client:
        for example in progress(examples, "playing in the embedded engine"):
            start = time.monotonic()
            try:
                reply = client.post("/api/generate-poem", json={"selectedPairs": sent(example)}).raise_for_status()
            except httpx.HTTPError as error:
                raise DemoError(f"{service.url}: the hand was not answered: {error}; see service.log") from error
            seconds.append(time.monotonic() - start)
            reason = reply.headers.get("X-Poem-Reason")
            sources[f"{reply.headers['X-Poem-Source']}{f': {reason}' if reason else ''}"] += 1
            if reply.headers["X-Poem-Source"] == "model":
                rates.append(len(tokenizer.tokenize(encode(Answer(**reply.json())), bos=False)) / seconds[-1])
        memory = _resident(service.pid)
    return {
        "hands": len(examples),
        "delivered": sources["model"],
        "sources": dict(sources.most_common()),
        "seconds": _spread(seconds),
        "tokens_per_second_in_all": round(statistics.mean(rates), 1) if rates else None,
        "resident_mb": memory,
    }


def sent(example: Example) -> list[dict[str, Any]]:
    """The hand as the game sends it."""
    return [
        {
            "conditionCard": pair.card.as_json(),
            "selectedPoem": {"id": pair.wording.id, "poem_text": pair.wording.poem_text},
        }
        for pair in example.hand.pairs
    ]


def _prompt_ids(recipe: Recipe, gguf: Path, examples: Sequence[Example]) -> list[list[int]]:
    llama = Llama(gguf, vocab_only=True)
    texts = (trained_prompt(recipe.base.family, e) for e in examples)
    return [llama.tokenize(text) for text in texts]


def _common(before: Sequence[int], now: Sequence[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))


def _memory(host: str, model: str) -> dict[str, Any]:
    """What `ps` says of the loaded model in MB, and the runner's resident memory if it is on this machine."""
    running = register.call(host, "GET", "/api/ps").get("models", [])
    digest = register.digests(host)[model]
    found: dict[str, Any] = next((one for one in running if one["digest"] == digest), {})
    blob = re.search(r"sha256-[0-9a-f]{64}", register.call(host, "POST", "/api/show", {"model": model})["modelfile"])
    return {
        "ps_mb": _mb(found.get("size")),
        "vram_mb": _mb(found.get("size_vram")),
        "resident_mb": _resident(_runner(blob.group())) if blob else None,
    }


def _runner(blob: str) -> int | None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes()
        except OSError:
            continue  # it has ended meanwhile, or is not ours to read
        if b"llama-server" in arguments and blob.encode() in arguments:
            return int(path.parent.name)
    return None


def _resident(pid: int | None) -> float | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return None
    found = re.search(r"VmRSS:\s*(\d+) kB", status)
    return _mb(int(found.group(1)) * 1024) if found else None


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / 1e6, 1)


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Median and the value that 95 % do not exceed."""
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[max(0, -(-len(ordered) * 95 // 100) - 1)], 3),
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
