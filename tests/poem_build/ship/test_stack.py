"""What `make up` and `make image` find out before Docker is asked."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poem.model_keys import ADAPTER_FILE
from poem_build.errors import ArtifactError, GateError, StackError
from poem_build.models.files import SERVED
from poem_build.models.standing import Standing, write_standing
from poem_build.ship import address, containers, made, stack
from poem_build.ship.containers import Compose
from poem_build.ship.teaching import TeacherChoice
from poem_build.store.digest import sha256
from poem_build.store.folder import MANIFEST
from support.docker_command import docker_command


class Stopped(Compose):
    """A stack of which nothing runs."""

    def running(self, service: str) -> bool:
        return False


def config(host: str, port: int) -> dict[str, Any]:
    return {"services": {"service": {"ports": [{"host_ip": host, "published": str(port)}]}}}


def lay_artifacts(folder: Path, ggufs: tuple[str, ...]) -> None:
    """What an image is made from, as the stages leave it."""
    contents = {
        "gguf": {**dict.fromkeys(ggufs, "GGUF"), "origin.json": '{"game_digest": ""}'},
        "modelfile": {"create.json": '{"license": "MIT"}'},
    }
    for stage in made.STAGES_OF_IMAGE:
        (folder / stage).mkdir(parents=True)
        for name, content in contents.get(stage, {}).items():
            (folder / stage / name).write_text(content, "utf-8")
        manifest = {
            "files": {path.name: sha256(path) for path in (folder / stage).iterdir()},
            "key": {"inputs": {}},
            "reads": {},
            "report": {"score": {"passed": 9, "hands": 10}},
        }
        (folder / stage / MANIFEST).write_text(json.dumps(manifest), "utf-8")


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_port_that_is_taken_is_refused(host: str, family: socket.AddressFamily) -> None:
    with socket.socket(family) as listener:
        try:
            listener.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(StackError, match=rf"^POEM_PORT {port}: Address already in use on {host}; "):
            address.check_port(Stopped(), config(host, port))
    address.check_port(Stopped(), config(host, port))


def test_an_address_that_we_may_not_bind_is_left_to_docker() -> None:
    address.check_port(Stopped(), config("192.0.2.1", 80))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3001"),
        ("0.0.0.0", "http://127.0.0.1:3001"),
        ("::", "http://[::1]:3001"),
        ("fd00::5", "http://[fd00::5]:3001"),
    ],
)
def test_the_pages_address_can_be_opened(host: str, url: str) -> None:
    assert address.address_of(config(host, 3001)) == url


@pytest.mark.parametrize("files", [(SERVED,), (SERVED, ADAPTER_FILE)], ids=["merged", "unmerged"])
def test_a_merged_model_that_lies_there_is_no_unmerged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...]
) -> None:
    monkeypatch.setattr(made, "ROOT", tmp_path)
    lay_artifacts(tmp_path / "artifacts" / "mini", files)
    assert made.whole("mini")["gguf"]["files"].keys() == {*files, "origin.json"}
    if ADAPTER_FILE in files:
        assert made.whole("mini", unmerged=True) == made.whole("mini")
    else:
        with pytest.raises(ArtifactError, match=r"mini: its adapter is merged; `poem-build run --unmerged` leaves it"):
            made.whole("mini", unmerged=True)


def test_no_image_is_made_of_a_model_that_its_gates_refuse_unless_it_was_let_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made, "ROOT", tmp_path)
    lay_artifacts(tmp_path / "artifacts" / "mini", (SERVED,))
    folder = tmp_path / "artifacts" / "mini" / "gguf"
    gates = ("verify: gate.smoke_pass: few", "eval: gate.eval_pass: x")
    write_standing(folder, Standing(verdict="below-composer", refused=gates))
    with pytest.raises(GateError) as refused:
        made.whole("mini")
    told = "refused by verify: gate.smoke_pass: few; eval: gate.eval_pass: x; `poem-build run --force` lets it through"
    assert str(refused.value) == f"{folder}: {told}"
    write_standing(folder, Standing(verdict="below-composer", forced=gates))
    assert made.whole("mini")["gguf"]["files"].keys() == {SERVED, "origin.json"}
    assert made.verdict("mini") == f"below-composer; forced: {'; '.join(gates)}"


@pytest.mark.parametrize("kind", ["", "embedded"])
def test_a_stack_starts_with_the_image_that_is_there_whatever_the_gates_say_of_a_newer_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(made, "ROOT", tmp_path)
    lay_artifacts(tmp_path / "artifacts" / "mini", (SERVED,))
    write_standing(tmp_path / "artifacts" / "mini" / "gguf", Standing(refused=("verify: gate.smoke_pass: few",)))
    _docker(tmp_path / "bin", "our-model:mini")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    compose, _ = stack.settled(stack.Choice("mini"), "", kind)
    assert compose.env["MODEL_FROM"] == "trained"
    _docker(tmp_path / "bin", "another:mini")
    with pytest.raises(GateError, match=r"gguf: refused by verify: gate\.smoke_pass: few; "):
        stack.settled(stack.Choice("mini"), "", kind)


def _docker(folder: Path, image: str) -> None:
    """A `docker` that has the one image, beside a stack whose services want `our-model:mini`."""
    config = json.dumps({"services": {holder: {"image": "our-model:mini"} for holder in ("ollama", "service")}})
    folder.mkdir(exist_ok=True)
    (folder / "docker").write_text(
        f"#!{sys.executable}\nimport sys\nasked = ' '.join(sys.argv[1:])\n"
        f"told = {{'image inspect {image}': '[{{}}]', 'config --format json': {config!r}}}\n"
        "found = [text for end, text in told.items() if asked.endswith(end) and ' -f - ' not in asked]\n"
        "sys.exit(print(*found) if found else 1)\n",
        "utf-8",
    )
    (folder / "docker").chmod(0o755)


@pytest.mark.parametrize(
    ("size", "limited", "memory"), [(5 << 30, False, 13 << 29), (5 << 30, True, None), (1 << 20, False, None)]
)
def test_a_large_model_may_have_what_it_needs_unless_somebody_said_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, limited: bool, memory: int | None
) -> None:
    monkeypatch.setattr(made, "ROOT", tmp_path)
    gguf = tmp_path / "artifacts" / "mini" / "gguf" / SERVED
    gguf.parent.mkdir(parents=True)
    for name in (SERVED, "model-Q8_0.gguf"):  # another mixture is not loaded
        with gguf.with_name(name).open("wb") as file:
            file.truncate(size)
    assert stack.Choice("mini", limited=limited).env.get("MODEL_MEMORY") == (str(memory) if memory else None)


@pytest.mark.parametrize(
    ("how", "teacher", "named"),
    [((), TeacherChoice("composer", 0, 10, None), "TEACHER"), (("--base", "another"), None, "BASE")],
)
def test_what_lies_there_is_not_taken_and_made_anew_at_once(
    how: tuple[str, ...], teacher: TeacherChoice | None, named: str
) -> None:
    with pytest.raises(StackError, match=rf"^KEEP: takes what lies there, and {named} has it made anew"):
        stack.image("mini", None, "", "", how, teacher, keep=True)


@pytest.mark.parametrize(
    ("teacher", "bundle", "what"),
    [(None, True, "make bundle"), (TeacherChoice("composer", 0, 10, None), False, "TEACHER")],
)
def test_an_amd_card_is_refused_before_anything_is_made_for_a_bundle(
    teacher: TeacherChoice | None, bundle: bool, what: str
) -> None:
    with pytest.raises(StackError, match=rf"^GPU=amd: {what} packs for .*; leave GPU out for the CPU$"):
        stack.image("mini", None, "amd", "", (), teacher, bundle=bundle)


def test_the_machine_s_own_python_may_be_3_10(tmp_path: Path) -> None:
    """Ubuntu 22.04's: `make image` runs with it. Where it is not here, this one stands in without what 3.11 brought."""
    lay_artifacts(tmp_path / "artifacts" / "mini", (SERVED,))
    script = (
        "import hashlib, pathlib, sys; vars(hashlib).pop('file_digest', None)\n"
        "from poem_build.ship import made, stack\n"
        "made.ROOT = pathlib.Path(sys.argv[1])\n"
        "sys.stdout.write(made.as_arguments('mini')['MODEL_FROM'])\n"
    )
    older = shutil.which("python3.10")
    there = older and subprocess.run([older, "-c", ""], capture_output=True, check=False).returncode == 0
    command = [older if older and there else sys.executable, "-S", "-B", "-c", script, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": f"{containers.ROOT / 'build'}:{containers.ROOT / 'game'}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("artifacts", "")


@pytest.mark.parametrize(("kind", "built"), [("", ["build service", "build ollama"]), ("embedded", ["build service"])])
def test_make_image_builds_every_image_of_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str, built: list[str]
) -> None:
    """The service's too, which after an upgrade is of the code that was. The engine stands in for itself."""
    docker = docker_command()
    monkeypatch.setattr(made, "ROOT", tmp_path)
    lay_artifacts(tmp_path / "artifacts" / "tiny", (SERVED,))
    inspected = json.dumps([{"Id": "sha256:1", "Size": 1_000_000}])
    real = f'info*) ;; "compose version"* | *" config "*) exec {docker} "$@" ;;'
    ours = f""""image inspect"*) echo '{inspected}' ;; *) echo "$*" >>"$0.asked" ;;"""
    (tmp_path / "docker").write_text(f'#!/bin/sh\ncase "$*" in {real} {ours} esac\n')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    stack.image("tiny", None, "", kind, keep=True)
    asked = (tmp_path / "docker.asked").read_text("utf-8").splitlines()
    assert [line[line.index("build") :] for line in asked if ".yaml build " in line] == built
    assert "gates: 9 of 10 hands passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gpu", "asked", "more"),
    [("", "", []), ("nvidia", "", ["--gpu", "nvidia"]), ("", "embedded", ["--stack", "embedded"])],
)
def test_at_the_end_all_is_packed_for_the_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: str, asked: str, more: list[str]
) -> None:
    python, calls = tmp_path / ".venv" / "bin" / "python", tmp_path / "calls"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!{sys.executable}\nimport sys\nopen({str(calls)!r}, 'w').write(' '.join(sys.argv[1:]))\n")
    python.chmod(0o755)
    monkeypatch.setattr(containers, "ROOT", tmp_path)
    stack.pack(stack.Choice("tiny", Path("/a/game")), gpu, asked)
    told = ["-m", "poem_build.cli.bundle", "--recipe", "tiny", "--game", "/a/game", *more]
    assert calls.read_text("utf-8").split() == told
