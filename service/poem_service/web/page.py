"""`GET /`: our own page as one response. The game's own files, where they are served instead: `dist`."""

from functools import cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from poem_service.web.inline import inline_digests


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


async def page(_: Request) -> Response:
    """The page."""
    return Response(page_text(), media_type="text/html", headers={"Cache-Control": "no-cache"})
