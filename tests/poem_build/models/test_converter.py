import io
import sys
import tarfile
from pathlib import Path

import pytest

from poem_build.errors import ModelFileError
from poem_build.models import converter


def test_the_converter_and_its_gguf_come_from_the_same_archive() -> None:
    folder = converter.converter_folder()
    assert Path(str(converter.converter().__file__)).is_relative_to(folder)
    assert Path(str(converter.gguf().__file__)).is_relative_to(folder)
    assert (folder / "LICENSE").is_file()
    assert folder.is_relative_to(sys.prefix)


def test_only_the_wanted_files_are_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("conversion/base.py", "gguf-py/gguf/__init__.py", "src/llama.cpp", "LICENSE"):
            member = tarfile.TarInfo(f"x-1/vendor/llama.cpp/{name}")
            member.size = 1
            tar.addfile(member, io.BytesIO(b"#"))
    converter.unpack(archive, tmp_path / "out")
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {"conversion/base.py", "gguf-py/gguf/__init__.py", "LICENSE"}


def test_another_layout_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x-1/vendor/llama.cpp/LICENSE"), io.BytesIO(b""))
    with pytest.raises(ModelFileError, match=r"a\.tar\.gz: the converter is not where it was"):
        converter.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
