"""`GET /`: our own page as one response, or the game's built files with `index.html` for unknown paths."""

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
GAME_CSP = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)


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


class GameFiles(StaticFiles):
    """The game's build; a path it lacks is one of the game's own routes, unless it is the API's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or path.startswith(("api/", "v1/")):
                raise
            return await super().get_response("index.html", scope)
