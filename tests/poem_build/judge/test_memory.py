"""The process that serves a model, found by its command line, and its memory."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from poem_build.judge.memory import resident_mb, runner

BLOB = f"sha256-{'7' * 64}"


@pytest.fixture
def server() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that looks like Ollama's runner, is up, and waits."""
    code = "print('up', flush=True); input()"
    command = [sys.executable, "-c", code, "/usr/lib/llama-server", "--model", f"/root/.ollama/blobs/{BLOB}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


def test_the_runner_of_a_blob_is_found_and_no_other(server: "subprocess.Popen[bytes]") -> None:
    assert runner(BLOB) == server.pid
    assert runner(BLOB.replace("7", "8")) is None


def test_resident_memory_is_told_of_what_runs(server: "subprocess.Popen[bytes]") -> None:
    taken = resident_mb(server.pid)
    assert taken is not None
    assert 1 < taken < 1000
    server.kill()
    server.wait()
    assert (resident_mb(server.pid), resident_mb(None)) == (None, None)
