"""Memory that the C library keeps for itself after it was freed → back to the system."""

import ctypes
import sys


def give_back() -> None:
    """Return every whole free page to the system, where the C library can (glibc's `malloc_trim`, malloc_trim(3)).

    glibc gives back only what lies at the end of its heap. Steps of many lengths leave holes below that: a training of
    `gemma-3-270m` had 6.5 GB resident after 300 steps, of which a step needs 4.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)
