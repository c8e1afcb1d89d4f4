"""A list in a TOML file, of prices say → its checked values, or an error that names the file and the field."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from poem_build.errors import BuildError

List = TypeVar("List", bound=BaseModel)


def read_list(path: Path, model: type[List], error: type[BuildError], remedy: str) -> List:
    """The list. Raises `error` for one that is not there, with the remedy, is not TOML, or breaks the model."""
    try:
        return model.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as missing:
        raise error(f"{path}: {missing.strerror or missing}; {remedy}") from missing
    except ValidationError as wrong:
        first = wrong.errors()[0]
        raise error(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from wrong
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise error(f"{path}: not TOML: {wrong}") from wrong
