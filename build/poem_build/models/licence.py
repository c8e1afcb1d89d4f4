"""A base → the terms that bind whoever is given a model made of it: their name, and the texts that lie beside it."""

import re
from pathlib import Path

from poem_build.models.converter import gguf
from poem_build.models.files import CARD, LICENCES
from poem_build.recipe.schema import Base

HUB = {
    **{"mit": "MIT", "apache-2.0": "Apache-2.0", "gemma": "Gemma Terms of Use"},
    **{"llama3.1": "Llama 3.1 Community License", "llama2": "Llama 2 Community License"},
}
"""What model cards and GGUF files call a licence by the hub's word for it, and how licences.toml has it."""
_NAMED = HUB | {"qwen": "Qwen License", "qwen-research": "Qwen Research License"}
"""The same with those for which the hub has no word, by the names that their cards give them."""
_FIELD = re.compile(r"^(license|license_name):[ \t]*[\"']?([^\s\"'#][^\n\"'#]*)", re.MULTILINE)


def name_of(base: Base, fetched: Path | None = None) -> str:
    """The licence that the base itself tells, by its name where we know it; where it tells none, that it is the base's.

    A model of the hub tells it from the folder that it was fetched into.
    """
    told = ""
    if folder := base.path or fetched:
        told = _of_card(folder / CARD)
    elif base.gguf:
        told = _of_gguf(base.gguf) or _of_card(base.gguf.parent / CARD)
    return _NAMED.get(told, told) or untold(base)


def untold(base: Base) -> str:
    """What the terms of a base that tells none are called."""
    return f"that of its base, {base.name}"


def texts_in(folder: Path) -> dict[str, str]:
    """The texts beside a model by their files' names, each text once."""
    paths = sorted({path for pattern in LICENCES for path in folder.glob(pattern) if path.is_file()})
    found: dict[str, str] = {}
    for path in paths:
        text = path.read_text("utf-8-sig", errors="replace").strip()
        if text and text not in found.values():
            found[path.name] = text
    return found


def _of_card(card: Path) -> str:
    """The licence in the head of a model card."""
    if not card.is_file():
        return ""
    head = card.read_text("utf-8", errors="replace").split("\n---", 1)[0]
    fields = {key: value.strip() for key, value in _FIELD.findall(head)}
    told = fields.get("license", "")
    return str(fields.get("license_name", told) if told in ("", "other") else told)


def _of_gguf(path: Path) -> str:
    try:
        field = gguf().GGUFReader(path).get_field("general.license")
    except (OSError, ValueError, IndexError, KeyError):  # whoever reads the file itself says what is wrong with it
        return ""
    return str(field.contents()).strip() if field else ""
