"""What a model was trained for ⇄ `origin.json` beside it, handed on from the data set to the last file.

It is content like the weights: a model that was trained on another prompt has another digest.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from poem.outline import Stages
from poem_build.errors import ModelFileError
from poem_build.store.folder import write_text

FILE = "origin.json"
WEIGHTS = ("*.safetensors", "*.bin")
"""The files that a base's digest is of: it is the same base with another licence text beside it."""


class Longest(BaseModel):
    """Tokens of the longest example and of the longest prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    example: int
    prompt: int


class Origin(BaseModel):
    """The game and the prompt that a model knows, and how its training went."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    game: str
    """Its name; empty for the built-in one."""
    game_digest: str
    """Of the deck."""
    prompt_version: str
    stages: Stages = 1
    """In which its poems are written."""
    cut_short: bool = False
    """Whether `train.max_steps` ended the training: gates that only a whole one passes then report."""
    longest: Longest | None = None
    base: str = ""
    """The digest of the weights that it was trained on; empty before the training."""


def read_origin(folder: Path) -> Origin:
    """What the folder's files were made for. Raises `ModelFileError` for a folder that does not say."""
    try:
        return Origin.model_validate_json((folder / FILE).read_bytes())
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{folder / FILE}: is not there: nothing tells which prompt it was trained on; give what `train` or "
            "`blend` left"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise ModelFileError(
            f"{folder / FILE}: {where}: {first['msg']}: it is of another version or damaged; give what `train` or "
            "`blend` of this version left"
        ) from error


def write_origin(folder: Path, origin: Origin, **change: Any) -> Origin:
    """Hand the origin on into the folder, with what has become known since."""
    now = origin.model_copy(update=change)
    write_text(folder / FILE, now.model_dump_json(indent=1) + "\n")
    return now
