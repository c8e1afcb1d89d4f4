"""A stage's work → a directory that is whole or not there, and that says what it was made from.

`artifacts/<recipe>/<stage>/artifact.json` is written last. A directory without one is unfinished and is made
again; one whose key (stage, settings, digests of the inputs) still holds is kept as it is. A stage that takes
hours keeps its checkpoints in `.<stage>.<key>` beside it, where only the same work finds them again.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import poem
from poem_build.errors import ArtifactError

MANIFEST = "artifact.json"


@dataclass(frozen=True)
class Artifact:
    """What a stage left: its files by SHA-256, and the figures that gates and reports need."""

    stage: str
    key: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    files: Mapping[str, str]
    figures: Mapping[str, Any]
    seconds: float
    path: Path
    reused: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 over the files' names and digests: the same content has the same digest."""
        return _digest(dict(sorted(self.files.items())))


def make(
    out: Path,
    stage: str,
    work: Callable[[Path], Mapping[str, Any]],
    *,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> Artifact:
    """The stage's artifact: the one that is there if nothing changed, else what `work` makes.

    `work` is given an empty directory and returns the figures; if it raises, nothing of it stays. Raises
    `ArtifactError` if another process makes the same stage in the same folder.
    """
    key = _key(stage, settings, inputs)
    target = out / stage
    if (found := _whole(target)) and found.key == key:
        return found
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out, stage):
        return _make(out, stage, work, key, settings, inputs)


def _make(
    out: Path,
    stage: str,
    work: Callable[[Path], Mapping[str, Any]],
    key: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> Artifact:
    target = out / stage
    for left in out.glob(f".{stage}.unfinished-*"):
        shutil.rmtree(left)  # of a process that was killed
    unfinished = Path(tempfile.mkdtemp(prefix=f".{stage}.unfinished-", dir=out))
    try:
        start = time.monotonic()
        figures = work(unfinished)
        seconds = round(time.monotonic() - start, 3)
        files = {
            str(path.relative_to(unfinished)): sha256(path) for path in sorted(unfinished.rglob("*")) if path.is_file()
        }
        made = Artifact(stage, key, settings, inputs, files, figures, seconds, target)
        content = {name: value for name, value in asdict(made).items() if name not in {"path", "reused"}}
        (unfinished / MANIFEST).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
        unfinished.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        for left in out.glob(f".{stage}.*"):
            shutil.rmtree(left)  # checkpoints that nothing needs any more
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return made


def checkpoint_folder(out: Path, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> Path:
    """Where the stage's work keeps what it needs to go on after its process was killed; not made here.

    Other settings or inputs have another folder, so no checkpoint is ever taken up by work that it is not from.
    All of a stage's go when the stage is whole.
    """
    return out / f".{stage}.{_key(stage, settings, inputs)[:16]}"


def load(out: Path, stage: str) -> Artifact:
    """The finished artifact of an earlier stage; raises `ArtifactError` naming the command that makes it."""
    found = _whole(out / stage)
    if found is None:
        raise ArtifactError(f"{out / stage}: not there or unfinished; `poem-build run` makes it")
    return found


def manifest(out: Path, stage: str) -> Artifact:
    """What an earlier stage says of itself, its files aside: an image carries the word of a stage, not its weights.

    Raises `ArtifactError` naming the command that makes it.
    """
    found = _told(out / stage)
    if found is None:
        raise ArtifactError(f"{out / stage}: not there or unfinished; `poem-build run` makes it")
    return found


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(folder: Path) -> str:
    """SHA-256 over the names and digests of a folder's files, a manifest and compiled code aside."""
    left_out = {MANIFEST, "__pycache__"}
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and left_out.isdisjoint(p.parts))
    return _digest({str(p.relative_to(folder)): sha256(p) for p in files})


def game_digest() -> str:
    """SHA-256 over the game's package, code and words: what is made from hands may change with any of it."""
    return tree_digest(Path(poem.__file__).parent)


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of packages whose results a stage depends on."""
    return {package: metadata.version(package) for package in packages}


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(out: Path, stage: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise ArtifactError(f"{out}: another poem-build is at work there; wait for it before {stage}") from error


def _whole(target: Path) -> Artifact | None:
    found = _told(target)
    with contextlib.suppress(OSError):
        if found and all(sha256(target / name) == digest for name, digest in found.files.items()):
            return found
    return None


def _told(target: Path) -> Artifact | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Artifact(**json.loads((target / MANIFEST).read_text("utf-8")), path=target, reused=True)
    return None


def _key(stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    return _digest({"stage": stage, "settings": settings, "inputs": inputs})


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
