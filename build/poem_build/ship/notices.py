"""An image → the licence texts that whoever is given a copy must get along with it.

An image tells itself what is in it: Python packages by their metadata, Debian's by their copyright files. Ollama's
own image carries no licence, so its text is ours to add (docker/bundle/licences).
"""

import contextlib
import email.parser
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from poem_build.errors import StackError
from poem_build.ship import containers

OLLAMA = Path(__file__).resolve().parents[3] / "docker" / "bundle" / "licences" / "ollama.txt"
DOCS, COMMON, STATUS = "/usr/share/doc", "/usr/share/common-licenses", "/var/lib/dpkg/status"
PROVENANCE = "/usr/share/mansion-poem/modelfile/create.json"
PYTHON = ("/opt/mansion-poem/lib", "/usr/local/lib")
OLLAMA_PLACES = ("/usr/bin/ollama", "/usr/local/bin/ollama", "/bin/ollama")
_LICENCE_NAMES = ("licen", "copying", "notice", "authors")
_RULE = "=" * 100
_NOT_THERE = ("No such container:path", "Could not find the file")
"""What Docker says of a place that a container does not have: up to 20.10, and since."""


@dataclass
class _Package:
    """A Python package's licence, and its licence texts by file name."""

    told: str = ""
    texts: dict[str, str] = field(default_factory=dict)


def of_model(image: str, name: str) -> str:
    """The licence of the model in the image, its notice and the texts of its terms, as the model itself carries them.

    They follow the base that it was made of, which need not be the recipe's own. Raises `StackError` if the image does
    not tell.
    """
    container = containers.ask("create", image, "true")
    try:
        found = next((text for _, text in _files(container, PROVENANCE)), None)
    finally:
        containers.ask("rm", container)
    try:
        return f"{name}: {json.loads(found or '')['license'].strip()}\n"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StackError(f"{image}: {PROVENANCE} does not tell the model's licence; `make image` builds it") from error


def of_image(image: str) -> str:
    """Every package of the image with its licence texts, each text once. Raises `StackError`."""
    container = containers.ask("create", image, "true")
    try:
        found = (item for place in PYTHON for item in _python(container, place))
        packages = dict(sorted(found, key=lambda item: item[0]))
        debian = dict(_debian_texts(container))
        common = {str(path): text for path, text in _files(container, COMMON)}
        versions = list(_debian_versions(container))
        ollama = any(next(_files(container, place), None) for place in OLLAMA_PLACES)
    finally:
        containers.ask("rm", container)
    parts = [f"What is in the image {image}, and under which licences\n"]
    if ollama:
        parts.append(f"{_RULE}\n{OLLAMA.read_text('utf-8')}")
    parts += _section("Python packages", {name: package.told for name, package in packages.items()})
    parts += _section("Debian packages (source: snapshot.debian.org, by name and version)", dict(versions))
    texts = {f"{name}: {file}": text for name, package in packages.items() for file, text in package.texts.items()}
    shown: dict[str, str] = {}
    for title, text in (texts | debian | common).items():
        same = shown.setdefault(text.strip(), title)
        parts.append(f"{_RULE}\n{title}\n\n{text.strip() if same == title else f'the same text as {same}'}\n")
    return "\n".join(parts)


def _section(title: str, told: dict[str, str]) -> list[str]:
    if not told:
        return []
    return [f"{_RULE}\n{title}\n", "\n".join(f"{name:40} {what}" for name, what in told.items()) + "\n"]


def _python(container: str, place: str) -> Iterator[tuple[str, _Package]]:
    """`name-version` and what is told of it; one name may be there twice, carried along inside another package."""
    found: dict[str, _Package] = {}
    for path, text in _files(container, place, _is_metadata):
        info = next(part for part in path.parts if part.endswith(".dist-info"))
        package = found.setdefault(info.removesuffix(".dist-info"), _Package())
        if path.name == "METADATA":
            told = email.parser.HeaderParser().parsestr(text)
            package.told = told["License-Expression"] or (told["License"] or "see its text").splitlines()[0]
        else:
            package.texts[path.name] = text
    yield from found.items()


def _is_metadata(path: PurePosixPath) -> bool:
    if not any(part.endswith(".dist-info") for part in path.parts):
        return False
    return path.name == "METADATA" or path.name.lower().startswith(_LICENCE_NAMES)


def _debian_texts(container: str) -> Iterator[tuple[str, str]]:
    for path, text in _files(container, DOCS, lambda path: path.name == "copyright"):
        yield path.parts[-2], text


def _debian_versions(container: str) -> Iterator[tuple[str, str]]:
    for _, text in _files(container, STATUS):
        for block in text.split("\n\n"):
            fields = email.parser.HeaderParser().parsestr(block)
            if "installed" in (fields["Status"] or "").split():
                yield fields["Package"], fields["Version"]


def _files(
    container: str, place: str, wanted: Callable[[PurePosixPath], bool] = lambda _: True
) -> Iterator[tuple[PurePosixPath, str]]:
    """The regular files of a place in the container, by path; nothing where the place is not there.

    Raises `StackError` if the copy broke off.
    """
    command = ["docker", "cp", f"{container}:{place}", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as copying:
        assert copying.stdout is not None
        assert copying.stderr is not None
        try:
            with (
                contextlib.suppress(tarfile.ReadError),  # an empty stream, or one that broke off: docker's status tells
                tarfile.open(fileobj=copying.stdout, mode="r|") as tar,
            ):
                for entry in tar:
                    path = PurePosixPath(entry.name)
                    if entry.isfile() and wanted(path) and (file := tar.extractfile(entry)) is not None:
                        yield path, file.read().decode("utf-8", "replace")
            copying.stdout.read()
            said = copying.stderr.read().decode("utf-8", "replace").strip()
            if copying.wait() and not any(phrase in said for phrase in _NOT_THERE):
                raise StackError(f"docker cp {container}:{place}: {said or f'status {copying.returncode}'}")
        finally:
            copying.kill()  # whoever has seen enough
