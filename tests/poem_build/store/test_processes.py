"""Two processes of the command in one folder at once: one makes, the other takes or is told; nothing is made twice."""

import json
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-c", "from poem_build.cli.main import main; main()", "dataset", "--json"]


def test_two_processes_make_one_result(tmp_path: Path) -> None:
    command = [*COMMAND, "--out", str(tmp_path / "out")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(process.communicate(timeout=120), process.returncode) for process in processes]
    made = [json.loads(out)["reused"] for (out, _), status in ended if status == 0]
    refused = [err for (_, err), status in ended if status != 0]
    assert made.count(False) == 1
    for error in refused:
        told = "another poem-build is at work there; wait for it before dataset"
        assert error == f"Error: {tmp_path / 'out'}: {told}\n"
    assert json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["reused"]
