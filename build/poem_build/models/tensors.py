"""A folder of safetensors files ⇄ its tensors, a few rows at a time.

The library maps files into memory, where what was read stays resident, and writes a file from all of its tensors at
once. The format (github.com/huggingface/safetensors): a header's length in eight bytes, little-endian; the header in
JSON; then the tensors' bytes, one after the other.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from poem_build.errors import ModelFileError

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""What the format calls the number formats, and what torch does."""
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_LENGTH = struct.Struct("<Q")
_PORTION = 1 << 26
"""Bytes in memory at once."""
_BLOCK = 64
"""Rows that a matrix product takes together, or a divisor of that."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies, and what it is."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    def parts(self) -> Iterator[tuple[int, "torch.Tensor"]]:
        """The rows from the first to the last, near-equal portions of them, each with its first row's number."""
        import torch

        kind, row = getattr(torch, FLOATS[self.dtype]), self.size // max(self.rows, 1)
        with self.file.open("rb") as file:
            file.seek(self.start)
            for first, count in portions(self.rows, row):
                flat = torch.frombuffer(bytearray(file.read(count * row)), dtype=kind)
                yield first, flat.reshape(count, *self.shape[1:]) if self.shape else flat.reshape(())

    def whole(self) -> "torch.Tensor":
        """The tensor at once."""
        import torch

        parts = [part for _, part in self.parts()]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def blocks(self) -> Iterator[bytes]:
        """Its bytes as they are."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            for _, count in portions(self.size, 1):
                yield file.read(count)


@dataclass(frozen=True)
class Entry:
    """A tensor that is to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


def portions(rows: int, row_size: int) -> Iterator[tuple[int, int]]:
    """First row and number of rows of portions that are small enough, whole blocks but for what the last has over.

    A matrix product over a few rows apart would be rounded in another order than it is in the whole.
    """
    size = max(1, _PORTION // max(row_size, 1) // _BLOCK) * _BLOCK
    starts = range(0, max(rows - _BLOCK, 0) + 1, size)
    for first, end in zip(starts, [*starts[1:], rows], strict=True):
        yield first, end - first


def places(folder: Path) -> dict[str, Place]:
    """Every tensor of a model's folder, in the order of its files; none if its weights are not in safetensors.

    Raises `ModelFileError` for a file that is cut short, an index that is none, and for a tensor that it names and no
    file holds.
    """
    if (index := folder / INDEX).is_file():
        named = _named(index)
        files = list(dict.fromkeys(named.values()))
    elif (folder / SINGLE).is_file():
        named, files = {}, [SINGLE]
    else:
        return {}
    found = {name: place for file in files for name, place in in_file(folder / file).items()}
    if lost := [name for name in named if name not in found]:
        raise ModelFileError(f"{index}: {lost[0]}: not in {named[lost[0]]} ({len(lost)} tensors); fetch it again")
    return found


def _named(index: Path) -> Mapping[str, str]:
    try:
        found = json.loads(index.read_text("utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise ModelFileError(f"{index}: weight_map: tells no file of each tensor ({told}); fetch it again") from error


def in_file(path: Path) -> dict[str, Place]:
    """Every tensor of a file. Raises `ModelFileError` if it is none, or cut short."""
    try:
        with path.open("rb") as file:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        begin, end = _LENGTH.size + length, path.stat().st_size
        found = {
            name: Place(path, one["dtype"], tuple(one["shape"]), begin + one["data_offsets"][0], _size(one))
            for name, one in header.items()
        }
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        struct.error,
        MemoryError,
        OverflowError,
    ) as error:
        raise ModelFileError(f"{path}: no whole safetensors file ({error}); make or fetch it again") from error
    if any(place.start + place.size > end for place in found.values()):
        raise ModelFileError(f"{path}: cut short at {end:,} bytes; make or fetch it again")
    return found


def refuse_no_floats(found: Mapping[str, Place]) -> None:
    """Raises `ModelFileError` for a tensor of numbers that nothing can be added to."""
    for name, place in found.items():
        if place.dtype not in FLOATS:
            known = ", ".join(FLOATS)
            raise ModelFileError(f"{place.file}: {name}: is in {place.dtype}; only {known} can be merged, fetch it so")


def begin_file(file: IO[bytes], entries: Sequence[Entry]) -> None:
    """Write the header; the tensors' bytes follow in the same order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for entry in entries:
        header[entry.name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [offset, offset + entry.size],
        }
        offset += entry.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH.size)
    file.write(_LENGTH.pack(len(text)) + text)


def write_index(folder: Path, files: Mapping[str, str], size: int) -> None:
    """Write which file holds which tensor."""
    content = {"metadata": {"total_size": size}, "weight_map": dict(files)}
    (folder / INDEX).write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def width(kind: str) -> int:
    """Bytes of a number in a format of `FLOATS`."""
    return _WIDTHS[kind]


def _size(entry: Mapping[str, Any]) -> int:
    begin, end = entry["data_offsets"]
    return int(end) - int(begin)
