"""Files, folders and values → their SHA-256; a large file that has not changed is not read again.

Standard library only, and of Python 3.10's: `make image` and `make up` hash with the machine's own.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CACHE = ".digests.json"
"""Where digests are kept, among the artifacts."""
_CACHED_FROM = 1 << 16
"""Bytes from which on a file's digest is worth keeping."""
_BLOCK = 1 << 20


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def digest_of(value: object) -> str:
    """SHA-256 in hex over the value as JSON."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def files_in(folder: Path, leave_out: Iterable[str] = ()) -> list[Path]:
    """The folder's files in order, those of the given names and compiled code aside."""
    hidden = {"__pycache__", *leave_out}
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and hidden.isdisjoint(path.parts)]


class Digests:
    """Digests of files, kept in a file: what has the same inode, size and times has not changed.

    So a folder that is moved is not read again. A damaged or missing cache is an empty one.
    """

    def __init__(self, cache: Path) -> None:
        self._path = cache
        self._known: dict[str, Any] = {}
        try:
            content = json.loads(cache.read_text("utf-8"))
            self._known = content if isinstance(content, dict) else {}
        except (OSError, ValueError):
            pass

    def of(self, path: Path) -> str:
        """The file's SHA-256. Raises `OSError` if it is not there."""
        stat = path.stat()
        if stat.st_size < _CACHED_FROM:
            return sha256(path)
        key = f"{stat.st_dev}:{stat.st_ino}"
        seen = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        kept = self._known.get(key)
        if not isinstance(kept, list) or len(kept) != 2 or kept[0] != seen:
            self._known[key] = kept = [seen, sha256(path)]
            self._save()
        return str(kept[1])

    def folder(self, folder: Path, leave_out: Iterable[str] = ()) -> dict[str, str]:
        """The digests of a folder's files by their paths within it."""
        return {str(path.relative_to(folder)): self.of(path) for path in files_in(folder, leave_out)}

    def place(self, path: Path) -> str:
        """The digest of a file, or of a folder with all in it. Raises `OSError` if it is not there."""
        return digest_of(self.folder(path)) if path.is_dir() else self.of(path)

    def _save(self) -> None:
        if not self._path.parent.is_dir():
            return
        beside = self._path.with_name(f"{self._path.name}.part")
        try:
            beside.write_text(json.dumps(self._known), "utf-8")
            beside.replace(self._path)
        except OSError:  # a full or read-only disk only costs the next reading
            beside.unlink(missing_ok=True)
