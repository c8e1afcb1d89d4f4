"""The checkpoints of a training in one folder → which of them is whole.

The library writes a folder a checkpoint, file by file. Once it is done, a seal is put beside it, all at once: the
SHA-256 of each of its files. Killed at any moment, a process leaves the sealed ones before.
"""

import json
from pathlib import Path

from poem_build.store.digest import sha256
from poem_build.store.folder import write_text

SEALS = "seal-*.json"


def path_of(folder: Path, step: int) -> Path:
    """Where the library writes the checkpoint of that step."""
    return folder / f"checkpoint-{step}"


def seal(folder: Path, step: int) -> None:
    """Vouch for the checkpoint as it is; seals of those that are gone go too."""
    content = json.dumps(_digests(path_of(folder, step)))
    write_text(folder / f"seal-{step}.json", content)
    for old in folder.glob(SEALS):
        if not path_of(folder, _step(old)).is_dir():
            old.unlink()


def latest(folder: Path) -> int | None:
    """The step of the newest checkpoint that is as it was sealed; None where there is none to go on from."""
    for path in sorted(folder.glob(SEALS), key=_step, reverse=True):
        if _digests(path_of(folder, _step(path))) == _vouched(path):
            return _step(path)
    return None


def _vouched(seal: Path) -> object:
    try:
        return json.loads(seal.read_text("utf-8"))
    except ValueError:
        return None  # written when the power failed


def _step(seal: Path) -> int:
    return int(seal.stem.removeprefix("seal-"))


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path) for path in files}
