"""A server that tunes: OpenAI's files and fine-tuning jobs, Vertex AI's tuning jobs, and Cloud Storage's uploads."""

import email.parser
import email.policy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.local_server import JsonHandler, listening

KEY = "a-key-of-the-test-0123456789"
VERTEX = "/v1beta1/projects/a-project/locations/us-central1/tuningJobs"


@dataclass
class Tuner:
    """What the server knows and has seen."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """By id, or by `gs://` address."""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was asked for, by the job's id."""
    looks: int = 0
    running: int = 2
    """How often a job is still running when it is looked at."""
    fails: str = ""
    """Why the job fails."""

    def running_still(self) -> bool:
        self.looks += 1
        return self.looks <= self.running


@contextmanager
def tuner() -> Iterator[Tuner]:
    """The server as long as this lasts."""
    state = Tuner()

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            job = urlsplit(self.path).path.removeprefix("/v1/fine_tuning/jobs/").removeprefix("/v1beta1/")
            if job not in state.jobs or not self._may():
                self.tell(404, {"error": {"message": f"no {job}", "code": 404}})
            elif job.startswith("projects/"):
                self.tell(200, self._vertex(job, running=state.running_still()))
            else:
                self.tell(200, self._openai(job, running=state.running_still()))

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0) or 0) or self._chunks()
            there = urlsplit(self.path)
            if not self._may():
                self.tell(401, {"error": {"message": f"Incorrect API key: {self.headers.get('Authorization')}"}})
            elif there.path == "/v1/files":
                self._take(content)
            elif there.path == "/v1/fine_tuning/jobs":
                job = f"ftjob-{len(state.jobs) + 1}"
                state.jobs[job] = json.loads(content)
                self.tell(200, self._openai(job, running=True))
            elif there.path.startswith("/upload/storage/v1/b/"):
                bucket, name = there.path.split("/")[5], parse_qs(there.query)["name"][0]
                state.files[f"gs://{bucket}/{name}"] = content
                self.tell(200, {"name": name, "bucket": bucket})
            elif there.path == VERTEX:
                job = f"{VERTEX.removeprefix('/v1beta1/')}/{len(state.jobs) + 1}"
                state.jobs[job] = json.loads(content)
                self.tell(200, self._vertex(job, running=True))
            else:
                self.tell(404, {"error": {"message": f"no {self.path}"}})

        def _may(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {KEY}"

        def _take(self, content: bytes) -> None:
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + content)
            parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
            assert parts["purpose"].get_content().strip() == "fine-tune"
            name = f"file-{len(state.files) + 1}"
            sent = parts["file"].get_payload(decode=True)
            assert isinstance(sent, bytes)
            state.files[name] = sent
            told = {"id": name, "object": "file", "bytes": len(state.files[name]), "created_at": 1}
            self.tell(200, told | {"filename": "x.jsonl", "purpose": "fine-tune", "status": "processed"})

        def _openai(self, job: str, *, running: bool) -> dict[str, Any]:
            asked = state.jobs[job]
            status = "running" if running else "failed" if state.fails else "succeeded"
            error = {"code": "invalid", "message": state.fails, "param": None} if state.fails and not running else None
            tuned = f"ft:{asked['model']}:{asked['suffix']}" if status == "succeeded" else None
            told = {"id": job, "object": "fine_tuning.job", "created_at": 1, "status": status, "error": error}
            return told | {"model": asked["model"], "fine_tuned_model": tuned, "training_file": asked["training_file"]}

        def _vertex(self, job: str, *, running: bool) -> dict[str, Any]:
            told: dict[str, Any] = {"name": job, "baseModel": state.jobs[job]["baseModel"]}
            if running:
                return told | {"state": "JOB_STATE_RUNNING"}
            if state.fails:
                return told | {"state": "JOB_STATE_FAILED", "error": {"code": 3, "message": state.fails}}
            place = "projects/1/locations/us-central1"
            tuned = {"model": f"{place}/models/7@1", "endpoint": f"{place}/endpoints/8"}
            return told | {"state": "JOB_STATE_SUCCEEDED", "tunedModel": tuned}

        def _chunks(self) -> bytes:
            found = b""
            while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
                found += self.rfile.read(size)
                self.rfile.readline()
            if found:
                self.rfile.readline()
            return found

    with listening(Handler) as state.url:
        yield state
