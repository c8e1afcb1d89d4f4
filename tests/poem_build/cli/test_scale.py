"""`make scale` in its small form: every part restarted, no hand and no row lost; docs/scale.md has the long one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from poem_build.models.files import SERVED
from poem_build.store.artifact import Artifact
from support.process import ROOT

PARTS = ["service 1", "service 2", "service 3", "llama-server", "llama-server", "nginx", "PostgreSQL"]


def scale(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bench.scale", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | environ)


@pytest.mark.long
def test_each_part_is_restarted_and_nothing_is_lost(chain: dict[str, Artifact]) -> None:
    done = scale("--hands", "450", "--gguf", str(chain["gguf"].path / SERVED))
    if "skipped, not here" in done.stdout:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["hands"] >= 450
    assert (found["errors"], found["rows_lost"], found["rows_twice"]) == (0, 0, 0)
    assert found["rows"] == found["hands"] == sum(found["written_by"].values())
    assert all(phase["hands"] for phase in found["phases"].values())
    restarted = [each["part"].replace("llama.cpp in a poem-service", "llama-server") for each in found["restarts"]]
    assert [part for part in restarted if part != "Ollama"] == PARTS


def test_it_says_what_it_lacks(tmp_path: Path) -> None:
    lacking = scale(PATH=str(tmp_path))
    assert (lacking.returncode, "nginx (apt-get install nginx)" in lacking.stdout) == (0, True)
    for program in ("nginx", "initdb"):
        (tmp_path / program).touch(0o755)
    modelless = scale("--gguf", str(tmp_path / "none.gguf"), PATH=str(tmp_path))
    assert modelless.returncode == 1
    assert "none.gguf: no model; make it with" in modelless.stderr
