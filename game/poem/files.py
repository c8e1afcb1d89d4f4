"""A JSON file as people save it → its content, or one line of error."""

import codecs
import json
from pathlib import Path
from typing import Any

from poem.errors import GameError


def read_text(path: Path) -> str:
    """The file's text; a byte order mark of UTF-8 or UTF-16 (Notepad writes them) is understood.

    Raises `GameError` for a file that cannot be read or is no such text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GameError(f"{path}: {error.strerror or error}; give the path of a readable file") from error
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise GameError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def read_json(path: Path) -> Any:
    """The file's JSON. Raises `GameError` naming the line."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise GameError(f"{path}: line {error.lineno}: {error.msg}; the file must be JSON") from error
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
        raise GameError(f"{path}: {error}; the file must be JSON") from error
