"""What an image says of its licences, by a `docker` of ours that copies out of a folder."""

import json
import os
from pathlib import Path

import pytest

from poem_build.errors import StackError
from poem_build.ship import notices

METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: {}\nLicense: {}\n"


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The image's files; whoever calls `docker cp` gets them as the engine sends them."""
    root, bin_ = tmp_path / "image", tmp_path / "bin"
    bin_.mkdir()
    docker = bin_ / "docker"
    docker.write_text(
        f"""#!/bin/sh
case $1 in
  create) echo c0ffee ;;
  cp)
    path="{root}${{2#*:}}"
    if [ -e "$path.broken" ]; then head -c 700 /dev/zero; echo "unexpected EOF" >&2; exit 1; fi
    if [ ! -e "$path" ]; then echo "Error: No such container:path: $2" >&2; exit 1; fi
    exec tar -C "$(dirname "$path")" -c "$(basename "$path")" ;;
esac
""",
        "utf-8",
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    return root


def _package(image: Path, place: str, name: str, version: str, licence: str) -> None:
    info = image / place / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA.format(name, version, licence), "utf-8")
    (info / "LICENSE").write_text(f"the text of {licence}", "utf-8")


def test_a_package_that_is_there_twice_is_told_twice(image: Path) -> None:
    _package(image, "opt/mansion-poem/lib", "typing_extensions", "4.16.0", "PSF-2.0")
    _package(image, "usr/local/lib/setuptools/_vendor", "typing_extensions", "4.12.2", "PSF")
    told = notices.of_image("some:image")
    assert "typing_extensions-4.12.2                 PSF\ntyping_extensions-4.16.0                 PSF-2.0\n" in told
    assert "typing_extensions-4.16.0: LICENSE\n\nthe text of PSF-2.0\n" in told


def test_a_copy_that_broke_off_is_an_error_and_no_missing_licence(image: Path) -> None:
    (image / "usr/share").mkdir(parents=True)
    (image / "usr/share/doc.broken").touch()
    with pytest.raises(StackError, match=r"^docker cp c0ffee:/usr/share/doc: unexpected EOF$"):
        notices.of_image("some:image")


def test_a_model_s_licence_is_what_its_image_carries(image: Path) -> None:
    """A model of another base is under other terms than its recipe's."""
    there = image / "usr/share/mansion-poem/modelfile"
    there.mkdir(parents=True)
    (there / "create.json").write_text(json.dumps({"license": "llama3.1\n\nthe terms\n"}), "utf-8")
    assert notices.of_model("some:image", "mansion-poem:tiny") == "mansion-poem:tiny: llama3.1\n\nthe terms\n"


@pytest.mark.parametrize("content", [None, "{}", "[]", "{", '{"license": null}'])
def test_an_image_that_tells_no_licence_is_not_packed(image: Path, content: str | None) -> None:
    there = image / "usr/share/mansion-poem/modelfile"
    there.mkdir(parents=True)
    if content:
        (there / "create.json").write_text(content, "utf-8")
    with pytest.raises(StackError, match=r"^some:image: /usr/share/.*create\.json does not tell the model's licence; "):
        notices.of_model("some:image", "mansion-poem:tiny")
