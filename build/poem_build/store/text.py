"""A file that somebody gives → its text or its lines, or an error that says what to do."""

from collections.abc import Iterator
from pathlib import Path

from poem_build.errors import BuildError


def read_text(path: Path, error: type[BuildError], remedy: str) -> str:
    """The file's text. Raises `error` for one that is not there, with the remedy, or is not UTF-8."""
    try:
        return path.read_text("utf-8-sig")
    except OSError as missing:
        raise error(f"{path}: {missing.strerror or missing}; {remedy}") from missing
    except UnicodeDecodeError as wrong:
        raise error(f"{path}: byte {wrong.start} is not UTF-8; save the file as UTF-8") from wrong


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, numbered from 1. Only a line feed ends one: a text of JSON may hold U+2028."""
    return ((n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip())
