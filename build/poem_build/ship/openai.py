"""OpenAI's fine-tuning over plain HTTP, or that of any server in its shape."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from poem_build.client import Credentials, client, told
from poem_build.data.formats import Shape
from poem_build.errors import PublishError
from poem_build.ship.tuning import State

_TIMEOUT_S = 600.0
_ENDED = {"succeeded", "failed", "cancelled"}
_TITLE = 64
"""Characters of a suffix at the most."""


class OpenAITuning:
    """The service; the key goes into the requests' heads alone."""

    name: ClassVar[str] = "openai"
    shape: ClassVar[Shape] = "openai"

    def __init__(self, server: Credentials) -> None:
        self._key, self._url = server.key, server.address
        self._headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}

    def start(self, files: Mapping[str, Path], model: str, title: str) -> str:
        """Upload the splits and begin."""
        ids = {split: self._upload(path) for split, path in files.items()}
        body = {
            "training_file": ids["train"],
            "validation_file": ids["valid"],
            "model": model,
            "suffix": title[:_TITLE],
        }
        return str(self._call("POST", "/fine_tuning/jobs", json=body)["id"])

    def look(self, job: str) -> State:
        """How the job stands."""
        found = self._call("GET", f"/fine_tuning/jobs/{job}")
        error = found.get("error") or {}
        return State(
            ended=found.get("status") in _ENDED,
            model=str(found.get("fine_tuned_model") or "") if found.get("status") == "succeeded" else "",
            told=str(error.get("message") or found.get("status") or ""),
        )

    def _upload(self, path: Path) -> str:
        with path.open("rb") as file:
            return str(
                self._call("POST", "/files", data={"purpose": "fine-tune"}, files={"file": (path.name, file)})["id"]
            )

    def _call(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        import httpx

        url = f"{self._url}{path}"
        try:
            with client(self._url, _TIMEOUT_S) as there:
                reply = there.request(method, url, headers=self._headers, **what)
            found = dict(reply.json())
        except (httpx.HTTPError, OSError) as error:
            raise PublishError(
                f"openai: {url}: {type(error).__name__}; run it again, a job that was started goes on"
            ) from error
        except (ValueError, TypeError) as error:
            raise PublishError(
                f"openai: {url}: status {reply.status_code}, and no JSON; is the address right?"
            ) from error
        if reply.is_error:
            said = found.get("error")
            why = told(str(said.get("message") if isinstance(said, dict) else said), self._key)
            raise PublishError(f"openai: {url}: status {reply.status_code}: {why}; check address, model and key")
        return found
