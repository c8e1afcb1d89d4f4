"""`GET /`: our own page as one response. The game's own files, where they are served instead: `dist`."""

import base64
import hashlib
import re
from functools import cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def page_text() -> str:
    """The page that the package carries."""
    return (resources.files("poem_service.web") / "page.html").read_text("utf-8")


def page_csp() -> str:
    """Nothing from outside, and of inline code only what the page itself holds, by digest."""
    digests = inline_digests(page_text())
    return (
        f"default-src 'none'; script-src {' '.join(digests['script'])}; style-src {' '.join(digests['style'])}; "
        "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


def inline_digests(text: str) -> dict[str, list[str]]:
    """The inline scripts and styles of a page, as a policy names them."""
    digests: dict[str, list[str]] = {"script": [], "style": []}
    for kind, inline in _INLINE.findall(text):
        digests[kind].append(f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'")
    return digests


async def page(_: Request) -> Response:
    """The page."""
    return Response(page_text(), media_type="text/html", headers={"Cache-Control": "no-cache"})
