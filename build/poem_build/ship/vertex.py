"""Vertex AI's tuning by Google's own client; the data set goes by Cloud Storage's JSON API, which needs no other."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from poem.environment import meant
from poem_build.client import client
from poem_build.data.formats import Shape
from poem_build.errors import PublishError
from poem_build.ship.tuning import State
from poem_build.store.digest import sha256

TOKEN, PROJECT, LOCATION = "GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"
ADDRESS, STORAGE = "GOOGLE_VERTEX_BASE_URL", "STORAGE_EMULATOR_HOST"
"""Other addresses, under the names that Google's own clients know."""
_VERTEX = "https://aiplatform.googleapis.com"
_STORAGE = "https://storage.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT_S = 600.0


class VertexTuning:
    """The service. Who asks: a token of the environment (`gcloud auth print-access-token`), or what Google's own
    library finds there (`GOOGLE_APPLICATION_CREDENTIALS`).
    """

    name: ClassVar[str] = "vertex"
    shape: ClassVar[Shape] = "gemini"

    def __init__(self, environ: Mapping[str, str], bucket: str) -> None:
        self._environ = {
            name: meant(text) for name, text in environ.items() if name.startswith(("GOOGLE_", "STORAGE_"))
        }
        self._bucket = bucket.removeprefix("gs://").strip("/")
        self._project = self._environ.get(PROJECT, "")
        if not self._project:
            raise PublishError(f"{PROJECT}: not set; export the project's id")
        if not self._bucket:
            raise PublishError(
                "--bucket: vertex reads its data set from Cloud Storage; give --bucket gs://NAME[/FOLDER]"
            )
        self._credentials = self._who()

    def start(self, files: Mapping[str, Path], model: str, title: str) -> str:
        """Upload the splits and begin."""
        from google.genai import types

        train, valid = (self._upload(files[split]) for split in ("train", "valid"))
        job = self._asked(
            lambda tunings: tunings.tune(
                base_model=model,
                training_dataset=types.TuningDataset(gcs_uri=train),
                config=types.CreateTuningJobConfig(
                    validation_dataset=types.TuningValidationDataset(gcs_uri=valid), tuned_model_display_name=title
                ),
            )
        )
        return str(job.name)

    def look(self, job: str) -> State:
        """How the job stands."""
        found = self._asked(lambda tunings: tunings.get(name=job))
        tuned = found.tuned_model
        model = str((tuned.endpoint or tuned.model) if found.has_succeeded and tuned else "")
        told = found.error.message if found.error else found.state and found.state.name
        return State(ended=bool(found.has_ended), model=model, told=str(told or ""))

    def _who(self) -> Any:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
        from google.oauth2.credentials import Credentials

        if token := self._environ.get(TOKEN):
            return Credentials(token=token)  # type: ignore[no-untyped-call]
        try:
            return google.auth.default(scopes=[_SCOPE])[0]
        except DefaultCredentialsError as error:
            raise PublishError(
                f"{TOKEN}: not set, nor GOOGLE_APPLICATION_CREDENTIALS; export the token of `gcloud auth "
                "print-access-token`, it is written nowhere"
            ) from error

    def _asked(self, ask: Any) -> Any:
        import httpx
        from google import genai
        from google.auth.exceptions import GoogleAuthError
        from google.genai import errors, types

        address = self._environ.get(ADDRESS) or None
        with client(address or _VERTEX, _TIMEOUT_S) as http, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The SDK's tuning implementation is experimental")
            there = genai.Client(
                vertexai=True,
                project=self._project,
                location=self._environ.get(LOCATION) or "us-central1",
                credentials=self._credentials,
                http_options=types.HttpOptions(base_url=address, httpx_client=http),
            )
            try:
                return ask(there.tunings)
            except errors.APIError as error:
                raise PublishError(
                    f"vertex: status {error.code}: {error.message}; check project, model and key"
                ) from error
            except (httpx.HTTPError, GoogleAuthError, OSError, ValueError) as error:
                raise PublishError(
                    f"vertex: {type(error).__name__}: {error}; a job that was started goes on"
                ) from error

    def _upload(self, path: Path) -> str:
        """The file in the bucket, under its content's name; its `gs://` address."""
        import httpx
        from google.auth.transport.requests import Request

        bucket, _, folder = self._bucket.partition("/")
        name = "/".join(filter(None, (folder, "mansion-poem", f"{sha256(path)[:16]}-{path.name}")))
        where = self._environ.get(STORAGE) or _STORAGE
        where = where if "://" in where else f"http://{where}"
        if not self._credentials.token:
            self._credentials.refresh(Request())
        url = f"{where}/upload/storage/v1/b/{quote(bucket)}/o?uploadType=media&name={quote(name, safe='')}"
        head = {"Authorization": f"Bearer {self._credentials.token}", "Content-Type": "application/jsonl"}
        try:
            with client(where, _TIMEOUT_S) as there, path.open("rb") as file:
                reply = there.post(url, content=file, headers=head)
        except (httpx.HTTPError, OSError) as error:
            raise PublishError(f"vertex: {where}: {bucket}: {type(error).__name__}; run it again") from error
        if reply.is_error:
            raise PublishError(
                f"vertex: gs://{bucket}: the upload was refused with status {reply.status_code}; is it there, and may "
                "this account write to it?"
            )
        return f"gs://{bucket}/{name}"
