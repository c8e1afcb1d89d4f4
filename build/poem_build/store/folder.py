"""An artifact's folder as anybody reads it, with the standard library alone: is it whole, and what does it hold.

`ship.stack` runs with the machine's own Python before any set-up, and an image carries folders without their weights.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path

from poem_build.store.digest import digest_of

MANIFEST = "artifact.json"


def changed_file(folder: Path, files: Mapping[str, str], digest: Callable[[Path], str]) -> str | None:
    """The first of the files, SHA-256 by path, that is missing or another now; None if there is none."""
    for name, expected in files.items():
        with contextlib.suppress(OSError):
            if digest(folder / name) == expected:
                continue
        return name
    return None


def digest_of_files(files: Mapping[str, str], patterns: Iterable[str]) -> str:
    """SHA-256 over names and digests of the files that the patterns name: the same content has the same digest."""
    wanted = tuple(patterns)
    return digest_of({name: digest for name, digest in files.items() if any(fnmatch(name, one) for one in wanted)})


def link(path: Path, target: Path) -> None:
    """The file at a second place, without a copy where the disk can do that."""
    try:
        os.link(path.resolve(), target)
    except OSError:  # another disk, or one that knows no links
        shutil.copy(path, target)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
