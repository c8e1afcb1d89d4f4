"""A GGUF and its fields → a model that Ollama serves, proved over HTTP to be the one that was trained."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from poem.prompt import prompt_version
from poem.rules import check
from poem.shape import answer_schema, decode
from poem_build.data.dataset import Example, read_examples
from poem_build.errors import ArtifactError, GateError, OllamaError
from poem_build.export import parity
from poem_build.export.convert import PROMPT_VERSION_KEY
from poem_build.export.modelfile import COUNTS_FILE, FIELDS_FILE
from poem_build.export.quantize import FILE as GGUF_FILE
from poem_build.judge import gates
from poem_build.models.chat import trained_prompt
from poem_build.recipe.schema import Recipe
from poem_build.report import fidelity_table
from poem_build.store import artifact
from poem_build.store.artifact import Artifact

DEFAULT_HOST = "http://127.0.0.1:11434"
OLDEST = (0, 30)
"""Before 0.30 prompts and output constraints went another way; nothing here was tried on those."""
NONE_HERE = "no Ollama here: the embedded engine serves it"
LATEST = "mansion-poem:latest"
"""The name of the model to serve."""
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
_START_TIMEOUT_S = 30
_TRIES = 5
_LOAD_TIMEOUT_S = 600.0


def run(recipe: Recipe, out: Path, host: str) -> Artifact:
    """Upload, create, prove, and only then give the model its names, `latest` among them.

    A model that still stands under the digest it was proved with is left as it is. Raises `OllamaError` if nothing
    answers at `host`, or what it serves differs from what it was given.
    """
    gguf, modelfile, dataset = (artifact.load(out, stage) for stage in ("gguf", "modelfile", "dataset"))
    fields, counts = (json.loads((modelfile.path / name).read_text("utf-8")) for name in (FIELDS_FILE, COUNTS_FILE))
    version = server_version(host)
    if version is None:
        raise OllamaError(f"OLLAMA_HOST {host}: no Ollama answers there; start `ollama serve`")
    names = (recipe.ollama_model, LATEST)

    def work(_: Path) -> dict[str, Any]:
        import ollama

        unproved = f"{recipe.ollama_model}-unproved"
        with _translated(host), ollama.Client(host, timeout=_LOAD_TIMEOUT_S) as client:
            digest = client.create_blob(gguf.path / GGUF_FILE)
            client.create(unproved, files={GGUF_FILE: digest}, **fields)
            try:
                _prove_fields(host, unproved, fields)
                examples = read_examples(dataset.path / "test.jsonl")[:_TRIES]
                _prove_prompt(host, unproved, examples[0], recipe)
                _prove_counts(host, unproved, examples[0], counts)
                tries = _prove_answer(host, unproved, examples, asked=not gates.cut_short(out))
                for name in names:
                    client.copy(unproved, name)
            finally:
                client.delete(unproved)
        counted = {"texts": len(counts["texts"]), "different": 0}
        return {"model": names[0], "digest": digests(host)[names[0]], "token_counts": counted, "answer_tries": tries}

    inputs = {"gguf": gguf.digest, "modelfile": modelfile.digest, "game": artifact.game_digest()}
    with contextlib.suppress(ArtifactError):
        before, now = artifact.load(out, "register"), digests(host)
        if any(now.get(name) != before.figures["digest"] for name in names):
            shutil.rmtree(before.path)  # somebody removed or replaced the model since
    settings = {"model": names[0], "host": host, "ollama": version}
    made = artifact.make(out, "register", work, settings=settings, inputs=inputs)
    with contextlib.suppress(ArtifactError):
        fidelity_table.write(recipe, out)
    return made


def address(host: str) -> str:
    """The URL that OLLAMA_HOST means to Ollama's own client; 0.0.0.0, which is for listening, means this machine.

    Raises `OllamaError` if it is none.
    """
    from ollama._client import _parse_host

    try:
        return str(_parse_host(host)).replace("//0.0.0.0", "//127.0.0.1")
    except ValueError as error:
        raise OllamaError(f"OLLAMA_HOST {host!r}: {error}; give host, host:port or an http or https URL") from error


def server_version(host: str) -> str | None:
    """The version of the Ollama at `host`, or None if nothing answers.

    Raises `OllamaError` if what answers is no Ollama, or one that is too old.
    """
    import httpx

    try:
        version = str(httpx.get(f"{host}/api/version", timeout=5).raise_for_status().json()["version"])
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


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process that was started here, by force if it does not go."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
def _translated(host: str) -> Iterator[None]:
    import httpx
    import ollama

    try:
        yield
    except (ConnectionError, httpx.HTTPError, ValueError) as error:
        raise OllamaError(f"OLLAMA_HOST {host}: {error or type(error).__name__}; is `ollama serve` running?") from error
    except ollama.ResponseError as error:
        raise OllamaError(f"OLLAMA_HOST {host}: {error.error} (status {error.status_code})") from error


def digests(host: str) -> dict[str, str]:
    """The models that are there, by name, and their digests."""
    return {found["name"]: found["digest"] for found in call(host, "GET", "/api/tags").get("models", [])}


def _prove_fields(host: str, model: str, fields: dict[str, Any]) -> None:
    """`show` must give back template, system and parameters as they were sent, and the prompt's version."""
    shown = call(host, "POST", "/api/show", {"model": model})
    for name in ("template", "system"):
        if fields[name] != shown.get(name):
            raise OllamaError(f"{model}: {name}: sent {fields[name]!r}, `show` gives back {shown.get(name)!r}")
    lines = [line.split(maxsplit=1) for line in shown.get("parameters", "").splitlines()]
    given = sorted((line[0], line[1].strip('"')) for line in lines)
    sent = sorted(
        (name, one if isinstance(one, str) else f"{one:g}")
        for name, value in fields["parameters"].items()
        for one in (value if isinstance(value, list) else [value])
    )
    if given != sent:
        raise OllamaError(f"{model}: parameters: sent {sent}, `show` gives back {given}")
    version = shown.get("model_info", {}).get(PROMPT_VERSION_KEY)
    if version != prompt_version():
        raise OllamaError(f"{model}: {PROMPT_VERSION_KEY}: is {version!r}, must be {prompt_version()!r}")


def _prove_prompt(host: str, model: str, example: Example, recipe: Recipe) -> None:
    """The prompt that Ollama renders must be, byte for byte, the one that was trained on."""
    body = {"model": model, "messages": example.messages()[:-1], "stream": False, "_debug_render_only": True}
    rendered = call(host, "POST", "/api/chat", body).get("_debug_info", {}).get("rendered_template")
    trained = trained_prompt(recipe.base.family, example)
    if rendered != trained:
        raise OllamaError(f"{model}: Ollama renders {rendered!r}, the model was trained on {trained!r}")


def _prove_counts(host: str, model: str, example: Example, counts: dict[str, Any]) -> None:
    """Ollama must find as many tokens in the prompt, and in any text, as llama.cpp did where the model was made."""
    body = {"model": model, "messages": example.messages()[:-1], "options": {"num_predict": 1}, "stream": False}
    body |= {"format": {"type": "boolean"}}  # an answer cut amid a character is dropped, count and all
    found, expected = call(host, "POST", "/api/chat", body).get("prompt_eval_count"), counts["prompt"]
    if found != expected:
        raise GateError(f"{model}: Ollama's prompt has {found} tokens, the trained one {expected}; is BOS there twice?")
    with _translated(host):
        different = parity.miscounted_texts(host, model, counts["texts"])
    if different:
        raise GateError(
            f"{model}: gate.token_parity_texts: Ollama counts other tokens than llama.cpp in {len(different)} of "
            f"{len(counts['texts'])} texts, {different[0]!r} for one; it reads this vocabulary otherwise, so try "
            "another Ollama"
        )


def _prove_answer(host: str, model: str, examples: list[Example], *, asked: bool) -> int | None:
    """One of a few held-out hands must be answered whole and within the rules; returns how many it took.

    None if none was; an error if that much is `asked` of the model.
    """
    told = "no answer"
    for n, example in enumerate(examples, 1):
        body = {
            "model": model,
            "messages": example.messages()[:-1],
            "format": answer_schema(example.candidates),
            "options": {"seed": n},
            "stream": False,
            "think": False,
        }
        reply = call(host, "POST", "/api/chat", body)
        if not reply.get("done") or reply.get("done_reason") != "stop":
            told = f"done {reply.get('done')}, done_reason {reply.get('done_reason')!r}"
            continue
        text = reply["message"]["content"]
        if not text.lstrip("{ \n").startswith('"title"'):
            raise OllamaError(f"{model}: Ollama orders the keys otherwise than trained; set OLLAMA_GO_TEMPLATE=1")
        try:
            broken = check(decode(text), example.hand, example.candidates)
        except ValueError as error:
            raise OllamaError(f"{model}: the constrained answer is no answer: {error}") from error
        if not broken:
            return n
        told = str(broken[0])
    if not asked:
        return None
    raise GateError(f"{model}: none of {len(examples)} constrained answers keeps the rules; the last one: {told}")


def call(host: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ollama's answer to one request, whole; raises `OllamaError` for any other."""
    import httpx

    with _translated(host):
        reply = httpx.request(method, f"{host}{path}", json=body, timeout=_LOAD_TIMEOUT_S)
        content: dict[str, Any] = reply.json()
    if reply.is_error:
        raise OllamaError(f"OLLAMA_HOST {host}: {path}: {content.get('error')} (status {reply.status_code})")
    return content
