"""The script for a GPU runs with a toy, on whatever there is."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_the_script_for_a_gpu_goes_from_random_weights_to_an_answer() -> None:
    command = [sys.executable, "-m", "bench.gpu", "--toy", "--steps", "2", "--batch", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert {"lora", "qlora", "unsloth", "trl", "merge", "convert", "quantize", "modelfile", "verify"} <= lines.keys()
    assert float(lines["lora"].split()[1]) > 0
    assert float(lines["trl"].split()[3]) == pytest.approx(float(lines["lora"].split()[3]), abs=0.2)
