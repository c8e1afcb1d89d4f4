"""A server's address → an HTTP client of it; a schema → how it is asked for; its words in an error → one line of ours.

On the way to this machine, or to one beside it, stands no proxy of the environment; to any other, as NO_PROXY says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from poem.environment import is_near, without_passwords

if TYPE_CHECKING:
    import httpx

_SHOWN = 200
"""Characters of what a server says that stand in an error."""


@dataclass(frozen=True)
class Credentials:
    """Where a server is asked, and with which key; empty without one."""

    address: str = ""
    key: str = field(default="", repr=False)


def client(url: str, timeout_s: float) -> "httpx.Client":
    """For as long as it is open; httpx is imported here, since most commands ask nobody."""
    import httpx

    return httpx.Client(base_url=url, timeout=timeout_s, transport=httpx.HTTPTransport() if is_near(url) else None)


def async_client(url: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> "httpx.AsyncClient":
    """The same for many questions at once; without an address for wherever the caller asks."""
    import httpx

    transport = httpx.AsyncHTTPTransport() if url and is_near(url) else None
    return httpx.AsyncClient(headers=headers, timeout=timeout_s, transport=transport)


def response_format(name: str, schema: Mapping[str, object]) -> dict[str, Any]:
    """The part of a question in the OpenAI shape that binds its answer to the schema."""
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": dict(schema)}}


def told(text: str, key: str) -> str:
    """What a server says, in one short line; our key, which some repeat, and passwords go before it is cut."""
    return " ".join(without_passwords(text.replace(key, "…") if key else text)[:_SHOWN].split())
