"""A server that speaks as much of the model hub's HTTP as fetching a model at a revision takes."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_INFO = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)/revision/(?P<revision>[^/?]+)")
_TREE = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)/tree/(?P<revision>[^/?]+)")
_FILE = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<commit>[0-9a-f]{40})/(?P<file>[^?]+)")


@contextmanager
def hub(model: str, revision: str, folder: Path) -> Iterator[str]:
    """The hub's address as long as this lasts: it holds one model, the folder's files, at one revision.

    A model called `gated/…` asks for a login first.
    """
    commit = hashlib.sha1(revision.encode()).hexdigest()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            asked = _INFO.match(self.path) or _TREE.match(self.path) or _FILE.match(self.path)
            if asked and asked["id"].startswith("gated/"):
                self._send(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
            elif asked and asked["id"] != model:
                self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            elif asked and asked.re is _INFO and asked["revision"] in (revision, commit):
                siblings = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
                self._send(200, json.dumps({"id": model, "sha": commit, "siblings": siblings}).encode())
            elif asked and asked.re is _TREE and asked["revision"] in (revision, commit):
                tree = [
                    {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": commit}
                    for path in sorted(folder.iterdir())
                ]
                self._send(200, json.dumps(tree).encode())
            elif asked and asked.re is _FILE and (folder / asked["file"]).is_file():
                content = (folder / asked["file"]).read_bytes()
                etag = hashlib.sha1(content).hexdigest()
                self._send(200, content, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})
            else:
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})

        def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
