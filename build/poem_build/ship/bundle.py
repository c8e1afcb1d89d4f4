"""The images of a recipe's stack → one .tar for a machine that has Docker and no network.

Inside: the images, one archive each, a compose.yaml that names them and never asks a registry, the game, a table,
scripts to start, stop and examine it, licences, SHA256SUMS and a page that says what to do. Equal images, game and
repository give an equal file.
"""

import gzip
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from poem_build.errors import StackError
from poem_build.recipe.names import ollama_model, tag
from poem_build.ship import containers, notices, sbom
from poem_build.ship.containers import ROOT, Compose
from poem_build.ship.packing import (
    MIB,
    PAGE,
    Contents,
    Part,
    write_compose,
    write_files,
    write_sums,
    write_tar,
    write_texts,
)

_PACKING = ".packing-"
GZIP_LEVEL = 1
"""Level 6 takes 2.4 times as long for 6 % less of the service's image."""


def pack(contents: Contents, out: Path, compose: Compose, hands: int) -> Path:
    """Write the bundle's file, whole or not at all, its checksum and the page beside it. Raises `StackError`."""
    found = parts(contents, compose)
    platform = found[0].platform
    name = f"mansion-poem-{contents.tag}{'-embedded' if compose.holder == 'service' else ''}"
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{_PACKING}*"):  # by a process that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=out, prefix=_PACKING) as made:
        folder = Path(made) / name
        (folder / "licences").mkdir(parents=True)
        write_files(folder, contents, hands)
        _write_images(folder, found)
        _write_licences(folder, found, contents)
        write_compose(folder, found, contents, compose)
        write_texts(folder, found, contents, compose)
        write_sums(folder)
        target = out / f"{name}-{platform.replace('/', '-')}.tar"
        write_tar(folder, target, max(part.created for part in found))
        shutil.copy(folder / PAGE, out / PAGE)  # it says how the .tar is unpacked
    return target


def parts(contents: Contents, compose: Compose) -> list[Part]:
    """The stack's services with their images as they are on this engine."""
    found = [_part(name, service) for name, service in sorted(compose.config()["services"].items())]
    if len(platforms := {part.platform for part in found}) > 1:
        raise StackError(f"images: of different platforms, {', '.join(sorted(platforms))}; build all of them for one")
    for part in found:
        held = tag(part.labels.get("mansion-poem.recipe", ""), part.labels.get("mansion-poem.game", ""))
        if held and held != contents.tag:
            raise StackError(f"{part.image}: holds {held}, not {contents.tag}; `make image` of that recipe and game")
    return found


def _part(name: str, service: dict[str, Any]) -> Part:
    image = service["image"]
    seen = containers.image(image)
    if seen is None:
        raise StackError(f"{image}: there is no such image; `make image` builds it")
    layers = "".join(f"{layer}\n" for layer in seen["RootFS"]["Layers"])
    return Part(
        name=name,
        image=image,
        digest=seen["Id"],
        layers=hashlib.sha256(layers.encode()).hexdigest(),
        platform=f"{seen['Os']}/{seen['Architecture']}",
        created=datetime.fromisoformat(seen["Created"]),
        bytes=seen["Size"],
        memory=int(service.get("mem_limit") or 0),
        labels=seen["Config"].get("Labels") or {},
    )


def _write_images(folder: Path, found: list[Part]) -> None:
    """One archive an image, and what is in it: licence texts and the bill of materials."""
    (folder / "images").mkdir()
    for part in found:
        click.echo(f"packing {part.image} ({part.bytes / MIB:.0f} MiB)", err=True)
        with _named(part):
            licences = folder / "licences"
            (licences / f"image-{part.name}.txt").write_text(notices.of_image(part.packed_image), "utf-8")
            sbom.write(part.packed_image, licences)
            _save(part.packed_image, folder / "images" / f"{part.name}.tar.gz")


@contextmanager
def _named(part: Part) -> Iterator[None]:
    containers.ask("tag", part.digest, part.packed_image)  # the name may mean another image by now
    try:
        yield
    finally:
        containers.ask("image", "rm", part.packed_image)


def _save(image: str, target: Path) -> None:
    with (
        subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as saving,
        target.open("wb") as file,
        # no name and no time: equal images give equal archives
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=GZIP_LEVEL) as packed,
    ):
        assert saving.stdout is not None
        assert saving.stderr is not None
        shutil.copyfileobj(saving.stdout, packed, MIB)
        said = saving.stderr.read().decode("utf-8", "replace").strip()
    if saving.returncode:
        raise StackError(f"docker save {image}: {said.splitlines()[-1] if said else f'status {saving.returncode}'}")


def _write_licences(folder: Path, found: list[Part], contents: Contents) -> None:
    """Our own, and that of the model, by the image that holds it."""
    shutil.copy(ROOT / "LICENSE", folder / "licences" / "mansion-poem.txt")
    name = ollama_model(contents.recipe.name, contents.game.name)
    for part in found:
        if part.labels.get("mansion-poem.recipe"):
            (folder / "licences" / "model.txt").write_text(notices.of_model(part.image, name), "utf-8")
