"""The game's built files → responses: its routes, its assets, how long a browser may keep each, and a policy a page."""

import hashlib
import mimetypes
import re
import unicodedata
from collections.abc import Sequence
from os import PathLike, stat_result
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from poem_service.web.inline import inline_digests

API = ("/api/", "/v1/")
"""Never the game's own, whatever lies in its folder."""
NAVIGATIONS = frozenset({"", "document", "iframe", "frame", "empty"})
"""What a browser says (Sec-Fetch-Dest) of a request that may be for one of the game's routes."""
FOREVER = "public, max-age=31536000, immutable"
# Bundlers name a file by its content: eight or more hex digits (webpack, Parcel), or eight letters and digits (Vite,
# Angular). A name that only looks so would be kept for a year: both kinds of sign have to be there.
_HASHED = re.compile(r"[-._](?=[^-.]*\d)(?=[^-.]*[A-Za-z])(?:[0-9a-f]{8,}|(?=[^-.]*[A-Z])[0-9A-Za-z_]{8})\.\w+$")
# Python's own list, whatever the machine says (Windows is known to call `.js` text/plain), and what it lacks.
_TYPES = mimetypes.MimeTypes()
for _suffix, _type in {
    ".avif": "image/avif",
    ".glb": "model/gltf-binary",
    ".js": "text/javascript",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".ogg": "audio/ogg",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}.items():
    _TYPES.add_type(_type, _suffix)


class GameFiles(StaticFiles):
    """The game's build. A path that it lacks is one of the game's own routes, unless an asset was asked for.

    A page that answered for a script of yesterday's build would leave the player with a white screen.
    """

    def __init__(self, folder: Path, sources: Sequence[str] = ()) -> None:
        super().__init__(directory=folder, html=True)
        self._sources = sources

    async def get_response(self, path: str, scope: Scope) -> Response:
        if scope["path"].startswith(API):
            raise HTTPException(404)
        try:
            response = await super().get_response(path, scope)
            if response.status_code != 404:  # a 404.html in the folder is answered with
                return response
        except HTTPException as error:
            if error.status_code == 405:
                raise
        if _is_asset(scope):
            raise HTTPException(404, headers={"Cache-Control": "no-store"})
        return await super().get_response("index.html", scope)

    def lookup_path(self, path: str) -> tuple[str, stat_result | None]:
        """The file of that name, or the one whose letters a Mac has composed or decomposed."""
        found = super().lookup_path(path)
        for form in ("NFC", "NFD"):
            if found[1] is None and not path.isascii():
                found = super().lookup_path(unicodedata.normalize(form, path))
        return found

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        path, asked = Path(full_path), Headers(scope=scope)
        media_type = _media_type(path.name) or "application/octet-stream"
        if media_type == "text/html":
            return _page(path.read_bytes(), self._sources, asked)
        # The time of the change too: builds that can be repeated give every file the same time of writing.
        etag = f'"{stat_result.st_mtime_ns:x}-{stat_result.st_ctime_ns:x}-{stat_result.st_size:x}"'
        headers = {"Cache-Control": FOREVER if _HASHED.search(path.name) else "no-cache", "ETag": etag}
        response = FileResponse(path, status_code, headers, media_type, stat_result=stat_result)
        return NotModifiedResponse(response.headers) if self.is_not_modified(response.headers, asked) else response


def game_csp(scripts: Sequence[str] = (), sources: Sequence[str] = ()) -> str:
    """The policy of one of the game's pages: its own files, the inline scripts with these digests, these sources."""
    own = " ".join(["'self'", *sources])
    return (
        f"default-src {own}; script-src {' '.join([own, *scripts])}; style-src {own} 'unsafe-inline'; "
        f"img-src {own} data: blob:; font-src {own} data:; media-src {own} data: blob:; "
        "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
    )


def _page(content: bytes, sources: Sequence[str], asked: Headers) -> Response:
    """Looked at anew each time, since it names the assets of its build; known by its content."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    policy = game_csp(inline_digests(content.decode("utf-8-sig", "replace"))["script"], sources)
    headers = {"Cache-Control": "no-cache", "ETag": etag, "Content-Security-Policy": policy}
    known = [tag.strip().removeprefix("W/") for tag in asked.get("if-none-match", "").split(",")]
    if etag in known:
        return Response(status_code=304, headers=headers)  # the browser takes the policy from here
    return Response(content, media_type="text/html", headers=headers)


def _is_asset(scope: Scope) -> bool:
    """Whether a file of the build was asked for, by what the browser says it is for, or by its name."""
    if Headers(scope=scope).get("sec-fetch-dest", "") not in NAVIGATIONS:
        return True
    return _media_type(scope["path"].rpartition("/")[2]) not in (None, "text/html")


def _media_type(name: str) -> str | None:
    return _TYPES.guess_type(f"x{Path(name).suffix.lower()}")[0]
