"""Freed memory goes back although something after it is still held."""

import os
import platform
from pathlib import Path

import pytest

from poem_build.train.memory import give_back

SIZE, COUNT = 100_000, 1_000  # small enough for the heap: glibc maps larger blocks one by one


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is known to keep freed memory")
def test_what_was_freed_below_something_held_is_given_back() -> None:
    blocks = [bytearray(SIZE) for _ in range(COUNT)]
    del blocks[:-1]
    kept = _resident()
    give_back()
    assert kept - _resident() > SIZE * COUNT / 2
    assert len(blocks[0]) == SIZE


def _resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
