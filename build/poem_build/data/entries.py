"""Entries → a JSON object in a file, one a line, for a person to mend; what stands there is kept."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poem.files import read_json
from poem_build.store.folder import write_text


def add_entries(path: Path, entries: Mapping[str, Any]) -> None:
    """Add entries that are not there."""
    there = read_json(path) if path.is_file() else {}
    new = {key: value for key, value in entries.items() if key not in there}
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f" {_json(key)}: {_json(value)}" for key, value in {**there, **new}.items()]
        write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
