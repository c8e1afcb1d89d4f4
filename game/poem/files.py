"""A JSON file as people save it → its content, or one line of error."""

import codecs
import json
import unicodedata
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
    return _parsed(path, read_text(path))


def read_words(path: Path) -> Any:
    """The JSON of what was written for a deck, in NFC as the deck is. Raises `GameError` naming the line.

    A lone surrogate is refused, which no prompt, digest or table can carry; a deck's own files leave out what holds it.
    """
    text = read_text(path)
    content = _parsed(path, text)
    if "\\u" not in text and unicodedata.is_normalized("NFC", text):  # as most are, and all are read at each start
        return content
    try:
        return _nfc(content)
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise GameError(f"{path}: {half!r} is half a character; write all of it, or remove it") from error
    except RecursionError as error:
        raise GameError(f"{path}: {error}; the file must be JSON") from error


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise GameError(f"{path}: line {error.lineno}: {error.msg}; the file must be JSON") from error
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
        raise GameError(f"{path}: {error}; the file must be JSON") from error


def _nfc(content: Any) -> Any:
    if isinstance(content, str):
        content.encode()
        return unicodedata.normalize("NFC", content)
    if isinstance(content, list):
        return [_nfc(one) for one in content]
    if isinstance(content, dict):
        return {_nfc(key): _nfc(value) for key, value in content.items()}
    return content
