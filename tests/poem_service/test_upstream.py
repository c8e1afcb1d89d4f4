"""Every error of the HTTP library has a place in our one table."""

from collections.abc import Iterator

import aiohttp
import pytest

from poem_service.errors import AnswerError, EngineError, Reason, UnavailableError
from poem_service.upstream import refused, translated


def kinds(of: type[Exception]) -> Iterator[type[Exception]]:
    yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


class Bare:
    """Makes an error of any kind without its constructor's arguments."""

    @staticmethod
    def of(kind: type[Exception]) -> Exception:
        made = type(kind.__name__, (kind,), {"__init__": lambda self: None, "__str__": lambda self: "seen"})
        error: Exception = made()
        return error


@pytest.mark.parametrize("kind", sorted(set(kinds(aiohttp.ClientError)), key=repr))
def test_no_error_of_the_library_is_left_out(kind: type[Exception]) -> None:
    found = translated(Bare.of(kind))
    assert isinstance(found, EngineError)
    gone = issubclass(kind, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    assert (found.reason is Reason.UNREACHABLE) == gone


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (TimeoutError, Reason.TIMEOUT),
        (aiohttp.SocketTimeoutError, Reason.TIMEOUT),
        (aiohttp.ServerDisconnectedError, Reason.LOST),
        (aiohttp.ClientPayloadError, Reason.LOST),
        (aiohttp.InvalidURL, Reason.UPSTREAM_ERROR),
    ],
)
def test_what_it_means_for_the_ladder(kind: type[Exception], reason: Reason) -> None:
    found = translated(Bare.of(kind))
    assert found.reason is reason
    assert isinstance(found, UnavailableError if reason is Reason.TIMEOUT else AnswerError)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, Reason.MODEL_MISSING), (503, Reason.BUSY), (429, Reason.BUSY), (400, Reason.UPSTREAM_ERROR)],
)
def test_a_status_has_its_reason(status: int, reason: Reason) -> None:
    assert refused(status, "x" * 999).reason is reason
    assert len(refused(status, "x" * 999).seen) < 300
