"""What teachers over HTTP have in common: what is said about a bad answer, a broken connection, how long to wait."""

from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime

import httpx

from poem_build.client import told
from poem_build.teacher.protocol import FailedError, LostError, Turn

_MOST = 600.0
"""Longer than that nobody waits for a single answer."""


def seconds_of(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` asks for, in seconds; None if that cannot be understood.

    A date is measured by the answer's own `Date`, so that no clock of ours counts.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    text = fields.get("retry-after", "").strip()
    with suppress(ValueError, TypeError):
        if text.replace(".", "", 1).isdecimal():
            return min(float(text), _MOST)
        until, now = parsedate_to_datetime(text), parsedate_to_datetime(fields.get("date", ""))
        return min(max((until - now).total_seconds(), 0.0), _MOST)
    return None


def again(turn: Turn) -> str:
    """What is said about an answer that will not do."""
    return f"この答えは規則に外れている。直して、答えの全体をもう一度書く。\n{turn.verdict}"


def lost(error: Exception) -> LostError | FailedError:
    """What a broken connection means: one that was never made cannot have been paid for."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | ConnectionRefusedError):
        return FailedError(f"no connection: {type(error).__name__}")
    return LostError(f"no answer came: {type(error).__name__}")


def unread(error: Exception, key: str) -> LostError:
    """What an answer means that cannot be read: it was made, and is to be paid for."""
    return LostError(f"the answer cannot be read: {told(str(error), key)}")


def passing(status: int) -> bool:
    """Whether the same question may do the next time: the server gave up waiting for it, or is out of order."""
    return status == 408 or status >= 500
