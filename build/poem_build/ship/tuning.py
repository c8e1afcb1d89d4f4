"""A data set → a tuned model at a service that trains for money: uploaded, started, followed, named.

The job is written down when it is there, so that the same command follows it instead of paying for another.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from poem_build.data.chats import read_chats
from poem_build.data.formats import Shape, write_as
from poem_build.errors import PublishError
from poem_build.progress import token_bar
from poem_build.store.digest import digest_of, sha256
from poem_build.store.folder import write_text

FOLDER = "tuning"
SPLITS = ("train", "valid")


@dataclass(frozen=True)
class State:
    """How a job stands; `model` once it has succeeded, `told` why it has not."""

    ended: bool
    model: str = ""
    told: str = ""


class Service(Protocol):
    """Somebody who tunes. What goes wrong is a `PublishError`."""

    name: ClassVar[str]
    shape: ClassVar[Shape]
    """Of the files that it takes."""

    def start(self, files: Mapping[str, Path], model: str, title: str) -> str:
        """Upload the splits and begin; the job's id."""

    def look(self, job: str) -> State:
        """How the job stands."""


@dataclass(frozen=True)
class Tuned:
    """What became of it."""

    job: str
    model: str
    resumed: bool
    """Whether the job was there already."""


def write_files(dataset: Path, shape: Shape, room: Path) -> dict[str, Path]:
    """The splits in the service's shape. Raises `DatasetError` for fewer examples than it takes."""
    room.mkdir(parents=True, exist_ok=True)
    files = {}
    for split in SPLITS:
        files[split] = room / f"{split}.jsonl"
        write_as(files[split], read_chats(dataset / f"{split}.jsonl"), shape if split == "train" else _loose(shape))
    return files


def tune(service: Service, dataset: Path, room: Path, model: str, title: str, *, every_s: float) -> Tuned:
    """Have the model tuned on the data set, or follow the job that was started for this very one.

    Raises `PublishError` if the job fails; it is then forgotten, and the next call starts another.
    """
    files = write_files(dataset, service.shape, room / service.name)
    key = digest_of({"model": model, **{split: sha256(path) for split, path in files.items()}})[:16]
    note = room / service.name / f"job-{key}.json"
    job = _noted(note)
    resumed = job is not None
    if job is None:
        job = service.start(files, model, title)
        write_text(note, json.dumps({"job": job, "model": model}) + "\n")
    with token_bar(f"tuning {model}", None, 0, "looks") as advance:
        while not (state := service.look(job)).ended:
            advance(1, state.told)
            time.sleep(every_s)
    if not state.model:
        note.unlink()
        raise PublishError(
            f"{service.name}: {job}: failed: {state.told or 'no reason given'}; mend that and start anew"
        )
    return Tuned(job, state.model, resumed)


def _noted(note: Path) -> str | None:
    try:
        return str(json.loads(note.read_text("utf-8"))["job"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _loose(shape: Shape) -> Shape:
    """A validation file has no least size; chats of ChatML are written as OpenAI's are."""
    return "chatml" if shape == "openai" else shape
