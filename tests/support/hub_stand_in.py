"""A server that speaks as much of the model hub's HTTP as fetching a model at a revision takes."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from support.local_server import listening

_INFO = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)/revision/(?P<revision>[^/?]+)")
_FILE = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<commit>[0-9a-f]{40})/(?P<file>[^?]+)")


def commit_of(revision: str) -> str:
    """The commit that a tag or a folder's name stands for."""
    return hashlib.sha1(revision.encode()).hexdigest()


@dataclass
class Hub:
    """One model with its commits, each a folder, and what is asked of it. A model `gated/…` asks for a login first."""

    model: str
    commits: dict[str, Path]
    revisions: dict[str, str]
    """Branches and tags with the commits that they are at now."""
    breaks_after: int | None = None
    """Bytes after which the next large file breaks off and nothing is given any more."""
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Files that were sent, and from which byte on."""
    down: bool = False

    def folder(self, revision: str) -> Path | None:
        """The files at a branch, tag or commit."""
        return self.commits.get(self.revisions.get(revision, revision))


@contextmanager
def hub(model: str, revision: str, folder: Path) -> Iterator[str]:
    """The hub's address as long as this lasts: it holds one model, the folder's files, at one revision."""
    commit = commit_of(revision)
    with serving(Hub(model, {commit: folder}, {revision: commit})) as there:
        yield there.url


@contextmanager
def serving(there: Hub) -> Iterator[Hub]:
    """The hub, answering as long as this lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            asked = _INFO.match(self.path) or _FILE.match(self.path)
            if there.down:
                self._send(503, b"")
            elif asked and asked["id"].startswith("gated/"):
                self._send(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
            elif asked and asked["id"] != there.model:
                self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            elif asked and asked.re is _INFO and (folder := there.folder(asked["revision"])):
                names = (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())
                sha = there.revisions.get(asked["revision"], asked["revision"])
                siblings = [{"rfilename": name} for name in names]
                self._send(200, json.dumps({"id": there.model, "sha": sha, "siblings": siblings}).encode())
            elif asked and asked.re is _FILE and (folder := there.folder(asked["commit"])):
                self._file(asked["commit"], folder, asked["file"])
            else:
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})

        def _file(self, commit: str, folder: Path, name: str) -> None:
            content = (folder / name).read_bytes()
            digest = hashlib.sha256 if name.endswith((".safetensors", ".bin")) else hashlib.sha1
            headers = {"X-Repo-Commit": commit, "ETag": f'"{digest(content).hexdigest()}"'}
            span = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(span.group(1)) if span else 0
            if self.command == "GET":
                there.asked.append((name, str(start)))
            if span:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            limit = there.breaks_after
            if self.command == "GET" and limit is not None and len(content) > limit:
                there.down = True
                self._send(206 if span else 200, content[start:], headers, sent=limit)
                self.close_connection = True
                return
            self._send(206 if span else 200, content[start:], headers)

        def _send(
            self, status: int, content: bytes, headers: dict[str, str] | None = None, sent: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[:sent])

    with listening(Handler) as there.url:
        yield there
