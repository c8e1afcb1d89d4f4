"""A server that takes a model as the hub does: repository and who sees it, what goes how, LFS objects, one commit."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from support.local_server import JsonHandler, listening

TOKEN = "hf_a-token-of-the-test"
LARGE = 10_000
"""Bytes from which on a file is an LFS object."""


@dataclass
class Taken:
    """What has arrived."""

    url: str = ""
    repositories: dict[str, bool] = field(default_factory=dict)
    """Whether each is private."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """LFS objects by SHA-256."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Of the last commit."""
    heads: list[str] = field(default_factory=list)
    """Cards that were shown before."""
    refuses: str = ""
    """Why every commit is refused."""


@contextmanager
def taking() -> Iterator[Taken]:
    """The server as long as this lasts."""
    state = Taken()

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            name = self.path.split("?")[0].removeprefix("/api/models/")
            if re.match(r"[^/]+/[^/]+/revision/", name):
                self.tell(200, {"id": "x", "sha": "0" * 40, "siblings": []})
            elif name in state.repositories:
                self.tell(200, {"id": name, "private": state.repositories[name]})
            else:
                self.tell(404, {"error": f"no {self.path}"})

        def do_PUT(self) -> None:
            content = self.body()
            if found := re.fullmatch(r"/api/models/(.+)/settings", self.path):
                state.repositories[found[1]] = json.loads(content)["visibility"] == "private"
            else:
                state.objects[hashlib.sha256(content).hexdigest()] = content
            self.tell(200, {})

        def do_POST(self) -> None:
            content = self.body()
            path = self.path.split("?")[0]
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.tell(401, {"error": "Invalid credentials in Authorization header"})
            elif path == "/api/repos/create":
                asked = json.loads(content)
                name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                new = name not in state.repositories
                state.repositories.setdefault(name, asked["visibility"] == "private")
                self.tell(200 if new else 409, {"url": f"{state.url}/{name}"})
            elif path == "/api/validate-yaml":
                state.heads.append(json.loads(content)["content"])
                self.tell(200, {"errors": [], "warnings": []})
            elif "/preupload/" in path:
                kinds = [
                    (one["path"], "lfs" if one["size"] > LARGE else "regular") for one in json.loads(content)["files"]
                ]
                told = [{"path": name, "uploadMode": kind, "shouldIgnore": False} for name, kind in kinds]
                self.tell(200, {"files": told})
            elif path.endswith("/info/lfs/objects/batch"):
                objects = json.loads(content)["objects"]
                upload = [one | {"actions": {"upload": {"href": f"{state.url}/put/{one['oid']}"}}} for one in objects]
                self.tell(200, {"transfer": "basic", "objects": upload})
            elif "/commit/" in path and not state.refuses:
                self._commit(content)
            else:
                self.tell(400 if state.refuses else 404, {"error": state.refuses or f"no {path}"})

        def _commit(self, content: bytes) -> None:
            for line in map(json.loads, content.splitlines()):
                what = line["value"]
                if line["key"] == "file":
                    state.files[what["path"]] = base64.b64decode(what["content"])
                elif line["key"] == "lfsFile":
                    state.files[what["path"]] = state.objects[what["oid"]]
            self.tell(200, {"commitUrl": f"{state.url}/me/x/commit/1", "commitOid": "1", "success": True})

    with listening(Handler) as state.url:
        yield state
