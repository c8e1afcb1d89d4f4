"""`make real` in its long form."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.process import free_port


@pytest.mark.long
def test_the_real_model_goes_through_every_gate_in_thirty_steps(tmp_path: Path) -> None:
    """Fetches the packages, trains for some minutes, and ends with a hand; the second call keeps all of it."""
    for again in (False, True):
        command = [sys.executable, "-m", "poem_build.cli.real", "--steps", "30", "--port", str(free_port())]
        environment = os.environ | {
            "OLLAMA_MODELS": str(tmp_path / "ollama"),
            "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        }
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        assert told["engine"] == ("ollama" if shutil.which("ollama") else "embedded")
        assert (sum(told["stages"].values()) == 0) == again
    table = (tmp_path / "artifacts" / "gemma-3-270m" / "fidelity.md").read_text("utf-8")
    assert "| token ids: transformers, llama.cpp | 0 of 1,000 texts differ | 0 | ok |" in table
    assert "| f16 GGUF against transformers, mean NLL |" in table
    assert "The training was cut short" in table
