"""A server that speaks as much of the model hub's HTTP as fetching a model at a revision takes."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.local_server import JsonHandler, listening

_INFO = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)/revision/(?P<revision>[^/?]+)(?P<sizes>\?blobs=true)?")
_FILE = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<commit>[0-9a-f]{40})/(?P<file>[^?]+)")


def commit_of(revision: str) -> str:
    """The commit that a tag or a folder's name stands for."""
    return hashlib.sha1(revision.encode()).hexdigest()


@dataclass
class Hub:
    """One model with its commits, each a folder, and what is asked of it.

    A model `gated/…` tells what it consists of, and asks for a login before it gives any of it.
    """

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

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            asked = _INFO.match(self.path) or _FILE.match(self.path)
            if there.down:
                self.answer(503, b"")
            elif asked and asked["id"].startswith("gated/") and (asked.re is _FILE or asked["id"] != there.model):
                self.answer(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
            elif asked and asked["id"] != there.model:
                self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
            elif asked and asked.re is _INFO and (folder := there.folder(asked["revision"])):
                sha = there.revisions.get(asked["revision"], asked["revision"])
                siblings = [
                    {"rfilename": str(path.relative_to(folder))}
                    | ({"size": path.stat().st_size} if asked["sizes"] else {})
                    for path in sorted(folder.rglob("*"))
                    if path.is_file()
                ]
                self.tell(200, {"id": there.model, "sha": sha, "siblings": siblings})
            elif asked and asked.re is _FILE and (folder := there.folder(asked["commit"])):
                self._file(asked["commit"], folder, asked["file"])
            else:
                self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})

        do_HEAD = do_GET

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
            sent = content[start:]
            headers["Content-Length"] = str(len(sent))
            limit = there.breaks_after
            if self.command == "GET" and limit is not None and len(content) > limit:
                there.down = self.close_connection = True
                sent = sent[:limit]
            self.answer(206 if span else 200, sent, headers)

    with listening(Handler) as there.url:
        yield there
