"""The demo as a person starts it: a process of its own, an empty folder, one hand."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from poem_build.store.artifact import Artifact
from support.process import free_port

KEYS = ["title", "poem", "source", "model", "engine", "stages"]


def _demo(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "poem_build.cli.demo", "--once", *arguments]
    environment = os.environ | {"PATH": "", "POEM_DEADLINE_S": "not a number, and not for the demo"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def test_a_hand_is_played_and_told_in_one_line(
    chain: dict[str, Artifact], out: Path, recipe_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(out, tmp_path / "artifacts" / "mini")
    done = _demo(tmp_path, "--recipe", str(recipe_file), "--port", str(free_port()), "--ollama", "127.0.0.1:9")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert sorted(told) == sorted(KEYS)
    assert told["engine"] == "embedded"
    assert told["stages"] == dict.fromkeys(
        ["dataset", "preflight", "train", "merge", "convert", "quantize", "fidelity", "modelfile", "verify"], 0.0
    )
    assert told["poem"].count("\n") in (2, 3)
    assert "no Ollama here" in done.stdout
    assert "train      kept" in done.stdout


def test_a_taken_port_is_refused_before_anything_is_made(recipe_file: Path, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        done = _demo(tmp_path, "--recipe", str(recipe_file), "--port", port, "--ollama", "127.0.0.1:9")
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert done.stderr.startswith(f"Error: POEM_PORT {port}: Address already in use")


@pytest.mark.parametrize("port", ["0", "70000"])
def test_a_port_that_is_none_is_refused_before_anything_is_made(port: str, recipe_file: Path, tmp_path: Path) -> None:
    done = _demo(tmp_path, "--recipe", str(recipe_file), "--port", port)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert f"'{port}' is not allowed; give a port from 1 to 65535" in done.stderr


@pytest.mark.long
def test_the_first_command_of_the_readme(tmp_path: Path) -> None:
    """`tiny` from its base to a hand answered by the model, and again from what is there."""
    for again in (False, True):
        done = _demo(tmp_path, "--port", str(free_port()), "--ollama", "127.0.0.1:9")
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        assert told["source"] == "model"
        assert (sum(told["stages"].values()) == 0) == again
