"""Registration against a real Ollama where there is one; its refusals against a server that misbehaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from poem.game import builtin_game
from poem_build.cli import pipeline
from poem_build.cli.main import cli
from poem_build.data.examples import read_examples
from poem_build.engine import ollama as engine
from poem_build.errors import GateError, OllamaError
from poem_build.export.gguf import keys_of
from poem_build.judge.rules import question
from poem_build.models.files import CREATE, TOKEN_COUNTS
from poem_build.models.origin import read_origin
from poem_build.models.standing import Standing, read_standing
from poem_build.recipe.schema import Recipe
from poem_build.ship.proof import prove_counts, prove_fields
from poem_build.ship.register import RegisterReport
from poem_build.store.artifact import Artifact
from poem_build.store.workshop import Workshop
from support.chain import changed, workshop_of
from support.local_server import JsonHandler, listening
from support.process import free_port

NAME = "mansion-poem:mini"


def test_a_real_ollama_serves_what_was_trained(
    chain: dict[str, Artifact], out: Path, recipe: Recipe, ollama: str
) -> None:
    workshop = workshop_of(recipe, out, ollama)
    report = pipeline.make(workshop, "register").report(RegisterReport)
    assert report.model == NAME
    assert (report.token_counts.texts, report.token_counts.different) == (50, [])
    models = httpx.get(f"{ollama}/api/tags").json()["models"]
    tags = {m["name"]: m["digest"] for m in models if m["name"].startswith("mansion-poem:")}
    assert tags == {NAME: report.digest, "mansion-poem:latest": report.digest}
    assert "| token counts: llama.cpp, Ollama | 0 of 50 texts differ | 0 | ok |" in (out / "fidelity.md").read_text()
    assert pipeline.make(workshop, "register").reused
    for name in tags:
        httpx.request("DELETE", f"{ollama}/api/delete", json={"model": name}).raise_for_status()
        again = pipeline.make(workshop, "register")
        assert not again.reused
        assert again.report(RegisterReport).digest == report.digest


def test_what_its_gates_refuse_is_not_registered_and_what_is_forced_says_so(
    chain: dict[str, Artifact], out: Path, tmp_path: Path, recipe: Recipe, ollama: str
) -> None:
    shutil.copytree(out, tmp_path / "out")
    strict = changed(recipe, "gate", smoke_hands=10, smoke_pass=1.0)
    folder, manifest = tmp_path / "out" / "gguf", tmp_path / "out" / "verify" / "artifact.json"
    told = json.loads(manifest.read_text("utf-8"))
    told["report"]["score"] = {"hands": 10, "passed": 3, "malformed": 0, "broken": {"length": 7}}
    manifest.write_text(json.dumps(told), "utf-8")
    workshop = workshop_of(strict, tmp_path / "out", ollama)
    with pytest.raises(GateError, match=r"verify/answers\.jsonl: gate\.smoke_pass: hands within all rules: 30\.0%"):
        pipeline.make(workshop, "register")
    mark = "verify: gate.smoke_pass: hands within all rules: 30.0% (3 of 10), asked for at least 100.0%"
    assert read_standing(folder) == Standing(refused=(mark,))
    made = pipeline.make(workshop, "register", force=True)
    assert made.report(RegisterReport).standing == read_standing(folder) == Standing(forced=(mark,))
    info = httpx.post(f"{ollama}/api/show", json={"model": NAME}).json()["model_info"]
    assert info["mansion_poem.forced"] == mark
    assert "mansion_poem.verdict" not in info
    with pytest.raises(GateError, match=r"gate\.smoke_pass"):
        pipeline.make(workshop, "register")
    lenient = pipeline.make(workshop_of(recipe, tmp_path / "out", ollama), "register")
    assert (lenient.reused, lenient.report(RegisterReport).standing) == (False, Standing())
    info = httpx.post(f"{ollama}/api/show", json={"model": NAME}).json()["model_info"]
    assert "mansion_poem.forced" not in info


def test_another_template_in_the_server_is_noticed(
    chain: dict[str, Artifact], recipe: Recipe, out: Path, ollama: str
) -> None:
    pipeline.make(workshop_of(recipe, out, ollama), "register")
    fields, origin = json.loads((out / "modelfile" / CREATE).read_text("utf-8")), read_origin(out / "gguf")
    with pytest.raises(OllamaError, match="mansion-poem:mini: template: sent"):
        prove_fields(ollama, NAME, fields | {"template": "{{ .Prompt }}"}, {})
    with pytest.raises(OllamaError, match="mansion-poem:mini: parameters: sent"):
        prove_fields(ollama, NAME, fields | {"parameters": {"num_ctx": 1}}, {})
    for field in ("prompt_version", "game_digest"):
        with pytest.raises(OllamaError, match=rf"mansion-poem:mini: mansion_poem\.{field}: is '.+', must be 'other'"):
            prove_fields(ollama, NAME, fields, keys_of(origin.model_copy(update={field: "other"})))


def test_it_takes_no_more_than_what_goes_into_an_image(
    chain: dict[str, Artifact], recipe: Recipe, out: Path, tmp_path: Path, ollama: str
) -> None:
    for stage in ("dataset", "gguf", "modelfile", "verify"):
        shutil.copytree(out / stage, tmp_path / stage)
    for stage in ("adapter", "merged", "f16"):
        (tmp_path / stage).mkdir()
        shutil.copy(out / stage / "artifact.json", tmp_path / stage)
    here = workshop_of(recipe, out, ollama)
    other = recipe.model_copy(update={"base": recipe.base.model_copy(update={"path": tmp_path / "nowhere"})})
    image = Workshop(other, builtin_game(), tmp_path, list(here.stages.values()), as_it_lies=True)
    reports = [pipeline.make(workshop, "register").report(RegisterReport) for workshop in (image, here)]
    assert reports[0] == reports[1]


def test_other_token_counts_are_noticed(chain: dict[str, Artifact], recipe: Recipe, out: Path, ollama: str) -> None:
    pipeline.make(workshop_of(recipe, out, ollama), "register")
    counts = json.loads((out / "modelfile" / TOKEN_COUNTS).read_text("utf-8"))
    game = builtin_game()
    example = read_examples(out / "dataset" / "test.jsonl", game)[0]
    asked = question(game, example, 0, constrained=False)
    with pytest.raises(GateError, match=r"mansion-poem:mini: Ollama's prompt has \d+ tokens, the trained one \d+"):
        prove_counts(ollama, NAME, asked, counts | {"prompt": counts["prompt"] + 1})
    text, count = counts["texts"][0]
    planted = counts | {"texts": [[text, count + 1], *counts["texts"][1:]]}
    with pytest.raises(GateError, match=r"Ollama counts other tokens than llama\.cpp in 1 of 50 texts"):
        prove_counts(ollama, NAME, asked, planted)


def test_without_an_ollama_the_command_says_so(out: Path, chain: dict[str, Artifact], recipe_file: Path) -> None:
    options = ["--recipe", str(recipe_file), "--out", str(out), "--ollama", "127.0.0.1:9"]
    runner = CliRunner(env={"PATH": ""})
    done = runner.invoke(cli, ["register", *options])
    assert done.exit_code == 1
    assert done.output.startswith("Error: OLLAMA_HOST http://127.0.0.1:9: no Ollama answers there")
    assert done.output.count("\n") == 1
    done = runner.invoke(cli, ["run", *options, "--json"])
    assert (done.exit_code, json.loads(done.output)["registered"]) == (0, False)


@contextmanager
def _server(answer: Callable[[str], tuple[int, dict[str, object]]]) -> Iterator[str]:
    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.body()
            self.tell(*answer(self.path))

        do_POST = do_GET

    with listening(Handler) as url:
        yield url


@pytest.mark.parametrize(
    ("version", "message"),
    [("0.12.3", "Ollama 0.12.3 is older than 0.30; update it"), (None, "what answers there is no Ollama")],
)
def test_another_version_is_refused(version: str | None, message: str) -> None:
    body: dict[str, object] = {"version": version} if version else {}
    with _server(lambda _: (200, body)) as host, pytest.raises(OllamaError, match=message):
        engine.server_version(host)


def test_a_server_that_refuses_is_quoted(chain: dict[str, Artifact], out: Path, recipe_file: Path) -> None:
    def answer(path: str) -> tuple[int, dict[str, object]]:
        if path == "/api/version":
            return 200, {"version": "0.33.0"}
        if path == "/api/tags":
            return 200, {"models": []}
        return 500, {"error": "llama-quantize binary not found"}

    shutil.rmtree(out / "register", ignore_errors=True)
    with _server(answer) as host:
        options = ["--recipe", str(recipe_file), "--out", str(out), "--ollama", host]
        done = CliRunner().invoke(cli, ["register", *options])
    assert done.exit_code == 1
    assert done.output == f"Error: OLLAMA_HOST {host}: /api/blobs: llama-quantize binary not found (status 500)\n"
    assert not [path for path in out.iterdir() if path.name.startswith((".register", "register"))]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("https://models.example", "https://models.example:443"),
        ("http://ollama:11434", "http://ollama:11434"),
    ],
)
def test_the_address_is_read_as_ollama_reads_it(given: str, address: str) -> None:
    assert engine.address(given) == address


@pytest.mark.parametrize("bad", ["127.0.0.1:abc", "127.0.0.1:99999", "http://[bad"])
def test_what_is_no_address_is_refused(bad: str) -> None:
    with pytest.raises(OllamaError, match="give host, host:port or an http or https URL"):
        engine.address(bad)


def test_an_ollama_elsewhere_is_never_started_here(tmp_path: Path) -> None:
    # RFC 2606: a name that is never there.
    with engine.running_server("http://nowhere.invalid:11434", tmp_path / "log") as there:
        assert not there
    assert list(tmp_path.iterdir()) == []


_PROGRAM = """#!{python}
import http.server, os, urllib.parse

class Version(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{{"version": "0.33.0"}}')

where = urllib.parse.urlsplit(os.environ["OLLAMA_HOST"])
http.server.HTTPServer((where.hostname, where.port), Version).serve_forever()
"""
_COMMAND = """
import time
from pathlib import Path
from poem_build.engine import ollama as engine
from poem_build.cli.options import set_up_process

set_up_process()
with engine.running_server("{host}", Path("{log}")) as there:
    print(there, flush=True)
    time.sleep(60)
"""


def test_a_server_that_was_started_here_ends_with_a_command_that_is_terminated(tmp_path: Path) -> None:
    program = tmp_path / "ollama"
    program.write_text(_PROGRAM.format(python=sys.executable), "utf-8")
    program.chmod(0o755)
    host = f"http://127.0.0.1:{free_port()}"
    command = _COMMAND.format(host=host, log=tmp_path / "log")
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert engine.server_version(host) == "0.33.0"
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert engine.server_version(host) is None
