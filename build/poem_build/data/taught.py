"""A teacher's poems ⇄ the folder that they are left in: three splits, and `teacher.json` beside them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poem.game import Game
from poem_build.data.examples import Example, read_examples, write_examples
from poem_build.data.hands import SPLITS, Split
from poem_build.errors import DatasetError
from poem_build.store.digest import sha256
from poem_build.store.folder import write_text

FOLDER = "teacher/poems"
"""Among the artifacts."""
FILE = "teacher.json"


def write_taught(folder: Path, game: Game, splits: Mapping[Split, list[Example]], told: Mapping[str, Any]) -> None:
    """Write the splits, then what is to be said of them: a folder without that is unfinished."""
    (folder / FILE).unlink(missing_ok=True)
    for split, examples in splits.items():
        write_examples(folder / f"{split}.jsonl", game, examples)
    files = {split: sha256(folder / f"{split}.jsonl") for split in splits}
    write_text(folder / FILE, json.dumps({**told, "files": files}, ensure_ascii=False, indent=1) + "\n")


def read_taught(folder: Path, game: Game) -> tuple[dict[Split, list[Example]], dict[str, Any]]:
    """The splits, checked, and what is said of them.

    Raises `DatasetError` for a folder that is unfinished or of another game.
    """
    told = told_of(folder)
    if told.get("game_digest") != game.deck.digest:
        raise DatasetError(f"{folder / FILE}: game_digest: written for another deck; run the teacher for this one")
    files = {split: folder / f"{split}.jsonl" for split in SPLITS}
    empty = {split for split, path in files.items() if path.is_file() and not path.stat().st_size}  # nothing yet
    return {split: [] if split in empty else read_examples(path, game) for split, path in files.items()}, told


def teachers_of(folder: Path) -> list[str]:
    """Whoever wrote the poems; `files` for what was imported. Raises `DatasetError` for a folder that is unfinished."""
    return str(told_of(folder)["teacher"]).split("+")


def told_of(folder: Path) -> dict[str, Any]:
    """What is said of the poems. Raises `DatasetError` for a folder that is unfinished."""
    try:
        told = dict(json.loads((folder / FILE).read_text("utf-8")))
        told["teacher"] = str(told["teacher"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{folder / FILE}: not there or damaged; `poem-build teacher run` makes it") from error
    return told
