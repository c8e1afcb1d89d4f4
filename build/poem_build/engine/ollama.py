"""Ollama's HTTP → a model that answers, and what its server tells of itself."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from poem.environment import ollama_url, without_password
from poem_build.client import client
from poem_build.engine.process import stop
from poem_build.engine.protocol import Question, Reply
from poem_build.errors import OllamaError, UnfinishedError

if TYPE_CHECKING:
    import httpx

OLDEST = (0, 30)
"""Before 0.30 prompts and output constraints went another way; nothing here was tried on those."""
NONE_HERE = "no Ollama here: the embedded engine serves it"
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
_START_TIMEOUT_S = 30
_LOAD_TIMEOUT_S = 600.0


class Ollama:
    """A model of the server at `host`, which drops the oldest turns of a long conversation itself."""

    def __init__(self, host: str, model: str) -> None:
        self.name = f"{model} at {host}"
        self._host, self._model = host, model

    def ask(self, question: Question) -> Reply:
        """The reply; `dropped` is what Ollama does after 30 equal pieces, without a `done`."""
        start = time.monotonic()
        reply = call(self._host, "POST", "/api/chat", self.body(question) | {"stream": False})
        return Reply(
            text=reply["message"]["content"],
            ended=str(reply.get("done_reason", "stop")) if reply.get("done") else "dropped",
            seconds=time.monotonic() - start,
            prompt_tokens=reply.get("prompt_eval_count", 0),
            prompt_s=reply.get("prompt_eval_duration", 0) / 1e9,
            tokens=reply.get("eval_count", 0),
            tokens_s=reply.get("eval_duration", 0) / 1e9,
        )

    def stream(self, question: Question) -> Iterator[str]:
        """The answer piece by piece. Raises `UnfinishedError` if it was cut."""
        import httpx

        last: dict[str, Any] = {}
        try:
            with (
                client(self._host, _LOAD_TIMEOUT_S) as there,
                there.stream("POST", "/api/chat", json=self.body(question)) as reply,
            ):
                for line in reply.iter_lines():
                    last = json.loads(line)
                    if "error" in last:
                        raise OllamaError(f"OLLAMA_HOST {self._host}: {last['error']}")
                    yield last["message"]["content"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise OllamaError(f"OLLAMA_HOST {self._host}: {error or type(error).__name__}") from error
        if not last.get("done"):
            raise UnfinishedError("Ollama dropped the answer; it does so after 30 equal pieces")
        if last.get("done_reason") != "stop":
            raise UnfinishedError(f"cut by {last.get('done_reason')}; serve.num_predict is what an answer may have")

    def body(self, question: Question) -> dict[str, Any]:
        """The question as `/api/chat` takes it."""
        options = dict(question.sampling) | {"seed": question.seed}
        body = {"model": self._model, "messages": question.messages, "options": options, "think": False}
        return body | ({} if question.schema is None else {"format": question.schema})


def address(host: str) -> str:
    """The URL that OLLAMA_HOST means, as the service understands it. Raises `OllamaError` if it is none."""
    try:
        return ollama_url(host)
    except ValueError:
        shown = without_password(host)
        raise OllamaError(f"OLLAMA_HOST {shown!r}: give host, host:port or an http or https URL") from None


def server_version(host: str) -> str | None:
    """The version of the Ollama at `host`, or None if nothing answers.

    Raises `OllamaError` if what answers is no Ollama, or one that is too old.
    """
    import httpx

    try:
        with client(host, 5) as there:
            version = str(there.get("/api/version").raise_for_status().json()["version"])
    except httpx.TransportError:
        return None
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise OllamaError(f"OLLAMA_HOST {host}: what answers there is no Ollama ({error}); correct it") from error
    parts = tuple(int(part) for part in version.split("-")[0].split(".")[:2] if part.isdigit())
    if parts != (0, 0) and parts < OLDEST:  # a build from source calls itself 0.0.0
        raise OllamaError(f"OLLAMA_HOST {host}: Ollama {version} is older than 0.30; update it")
    return version


@contextlib.contextmanager
def running_server(host: str, log: Path) -> Iterator[bool]:
    """Whether an Ollama answers at `host`; one that is on PATH is started there for as long, if the host is this one.

    Raises `OllamaError` if what answers is no fit Ollama, or the one that was started stops.
    """
    if server_version(host) is not None:
        yield True
    elif urlsplit(host).hostname not in _THIS_MACHINE or shutil.which("ollama") is None:
        yield False
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        # llama.cpp's threads spin while they wait for each other, so half of the cores is what can be spared.
        threads = str(max(1, (os.cpu_count() or 2) // 2))
        ours = {"OLLAMA_NO_CLOUD": "1", "OLLAMA_GO_TEMPLATE": "1", "LLAMA_ARG_THREADS": threads}
        # A cache that slides with the window has lost the instructions when the next hand comes, and a prompt that is
        # put aside in memory comes back as a window only.
        ours |= {"LLAMA_ARG_SWA_FULL": "1", "LLAMA_ARG_CACHE_RAM": "0"}
        environment = ours | os.environ | {"OLLAMA_HOST": host}
        with log.open("ab") as file:
            server = subprocess.Popen(["ollama", "serve"], stdout=file, stderr=file, env=environment)
        try:
            _wait_for(host, server, log)
            yield True
        finally:
            stop(server)


def _wait_for(host: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end:
        if server_version(host) is not None:
            return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    raise OllamaError(f"{log}: `ollama serve` did not come up at {host}; the file says why")


@contextlib.contextmanager
def translated(host: str) -> Iterator[None]:
    """Whatever a client raises on the way to `host`, as one line."""
    import httpx

    try:
        yield
    except (ConnectionError, httpx.HTTPError, ValueError) as error:
        raise OllamaError(f"OLLAMA_HOST {host}: {error or type(error).__name__}; is `ollama serve` running?") from error


def digests(host: str) -> dict[str, str]:
    """The models that are there, by name, and their digests."""
    return {found["name"]: found["digest"] for found in call(host, "GET", "/api/tags").get("models", [])}


def upload(host: str, path: Path) -> str:
    """Give the file to Ollama, unless it has it; returns the digest that it is known by there."""
    with path.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    with translated(host), client(host, _LOAD_TIMEOUT_S) as there, path.open("rb") as file:
        if there.head(f"/api/blobs/{digest}").is_error:
            _whole(host, "/api/blobs", there.post(f"/api/blobs/{digest}", content=file))
    return digest


def call(host: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ollama's answer to one request, whole, empty where it has nothing to say; raises `OllamaError` for any other."""
    with translated(host), client(host, _LOAD_TIMEOUT_S) as there:
        return _whole(host, path, there.request(method, path, json=body))


def _whole(host: str, path: str, reply: "httpx.Response") -> dict[str, Any]:
    content: dict[str, Any] = reply.json() if reply.content else {}
    if reply.is_error:
        raise OllamaError(f"OLLAMA_HOST {host}: {path}: {content.get('error')} (status {reply.status_code})")
    return content
