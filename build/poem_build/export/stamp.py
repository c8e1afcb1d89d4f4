"""A finished GGUF and a few texts → a copy that has them among its keys, its tensors as they are.

Standard library only, as a model is registered where there is neither torch nor numpy. A key is put in before the
tensors' table and what follows is aligned anew (llama.cpp's docs: `gguf.md`); offsets count from where the data begin.
"""

import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from poem_build.errors import ModelFileError

_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value, by the number of its type."""
_ALIGNMENT = 32
_BLOCK = 1 << 22


def stamp(source: Path, target: Path, keys: Mapping[str, str]) -> None:
    """Write the copy. Raises `ModelFileError` for a file that is no GGUF, or has one of the keys already."""
    with source.open("rb") as file, target.open("wb") as copy:
        try:
            magic, version, tensors, count = struct.unpack("<4sIQQ", file.read(24))
            if magic != b"GGUF":
                raise ValueError("no GGUF")
            begin, alignment = file.tell(), _ALIGNMENT
            for _ in range(count):
                name = _text(file)
                if name in keys:
                    raise ValueError(f"has {name} already")
                kind = _number(file, "<I")
                if name == "general.alignment":
                    alignment = _number(file, "<I")
                else:
                    _skip(file, kind)
            table = file.tell()
            for _ in range(tensors):
                _text(file)
                file.seek(8 * _number(file, "<I") + 12, 1)  # its dimensions; type and offset
            end = file.tell()
        except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
            raise ModelFileError(
                f"{source}: cannot be stamped: {error}; `poem-build convert` makes it again"
            ) from error
        copy.write(struct.pack("<4sIQQ", magic, version, tensors, count + len(keys)))
        file.seek(begin)
        copy.write(file.read(table - begin))
        for name, text in keys.items():
            copy.write(_told(name) + struct.pack("<I", _STRING) + _told(text))
        copy.write(file.read(end - table))
        copy.write(b"\0" * (-copy.tell() % alignment))
        file.seek(-end % alignment, 1)
        shutil.copyfileobj(file, copy, _BLOCK)


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        file.seek(_number(file, "<Q"), 1)
    elif kind == _ARRAY:
        inner, count = _number(file, "<I"), _number(file, "<Q")
        if inner in _SIZES:
            file.seek(_SIZES[inner] * count, 1)
        else:
            for _ in range(count):
                _skip(file, inner)
    else:
        file.seek(_SIZES[kind], 1)


def _number(file: BinaryIO, shape: str) -> int:
    return int(struct.unpack(shape, file.read(struct.calcsize(shape)))[0])


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "<Q")).decode()


def _told(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
