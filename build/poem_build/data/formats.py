"""Chats ⇄ the five shapes in which trainers and tuning services want them.

Each shape says the same things, so what is written in one and read again is the same chat. What the system says may be
missing in any of them; an Alpaca instruction without an input is then the user's.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from poem_build.data.chats import ROLES, Messages
from poem_build.errors import DatasetError
from poem_build.store.text import lines_of, read_text

Shape = Literal["chatml", "alpaca", "sharegpt", "openai", "gemini"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
_OPENAI_LEAST = 10
"""Examples that OpenAI's tuning asks for at the least (platform.openai.com/docs/guides/fine-tuning)."""
_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}
_PARTIES = {"user": "user", "assistant": "model"}


@dataclass(frozen=True, slots=True)
class Chats:
    """What a file holds: its shape, its chats, and what was wrong with the lines that are none."""

    shape: Shape
    chats: list[tuple[int, Messages]]
    """With the number of the line, or of the entry of a list."""
    broken: list[tuple[int, str]]


def read_any(path: Path) -> Chats:
    """The chats of a file in whichever of the shapes it is; JSON lines, or one JSON list.

    Raises `DatasetError` for a file that cannot be read or is in none of them.
    """
    entries, broken = _entries(path)
    shapes = [shape for _, entry in entries if (shape := _shape(entry))]
    if not shapes:
        raise DatasetError(f"{path}: no line is in one of the shapes {', '.join(SHAPES)}")
    shape = shapes[0]
    chats = []
    for n, entry in entries:
        try:
            chats.append((n, _checked(_READ[shape](entry))))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            broken.append((n, f"no {shape} chat of [system,] user, assistant: {error!r}"))
    return Chats(shape, chats, sorted(broken))


def write_as(path: Path, chats: Sequence[Messages], shape: Shape) -> None:
    """Write the chats. Raises `DatasetError` for what the service of that shape would refuse."""
    if shape == "openai" and len(chats) < _OPENAI_LEAST:
        raise DatasetError(f"{path}: OpenAI's tuning takes {_OPENAI_LEAST} examples or more, got {len(chats)}")
    entries = [_WRITE[shape](messages) for messages in chats]
    if shape in ("alpaca", "sharegpt"):
        text = json.dumps(entries, ensure_ascii=False, indent=1) + "\n"
    else:
        text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    path.write_text(text, "utf-8")


def _entries(path: Path) -> tuple[list[tuple[int, Any]], list[tuple[int, str]]]:
    text = read_text(path, DatasetError, "give the path of a readable file")
    if text.lstrip().startswith("["):
        try:
            return list(enumerate(json.loads(text), 1)), []
        except ValueError as error:
            raise DatasetError(f"{path}: not JSON: {error}; write a list, or one object a line") from error
    entries, broken = [], []
    for n, line in lines_of(text):
        try:
            entries.append((n, json.loads(line)))
        except ValueError as error:
            broken.append((n, f"not JSON: {error}"))
    return entries, broken


def _shape(entry: Any) -> Shape | None:
    if not isinstance(entry, dict):
        return None
    keys: Mapping[str, Shape] = {
        "messages": "chatml",
        "conversations": "sharegpt",
        "contents": "gemini",
        "instruction": "alpaca",
    }
    return next((shape for key, shape in keys.items() if key in entry), None)


def _checked(messages: Iterable[tuple[str, Any]]) -> Messages:
    found = list(messages)
    if [role for role, _ in found] not in (ROLES, ROLES[1:]):
        raise ValueError(f"roles are {', '.join(role for role, _ in found)}")
    if empty := [role for role, text in found if not isinstance(text, str) or not text.strip()]:
        raise ValueError(f"{empty[0]} is empty")
    return [{"role": role, "content": text} for role, text in found]


def _of(names: Mapping[str, str]) -> dict[str, str]:
    return {name: role for role, name in names.items()}


def _gemini_text(content: Mapping[str, Any]) -> str:
    return "".join(part["text"] for part in content["parts"])


def _from_gemini(entry: Mapping[str, Any]) -> list[tuple[str, Any]]:
    turns = [(_of(_PARTIES)[one["role"]], _gemini_text(one)) for one in entry["contents"]]
    told = entry.get("systemInstruction")
    return [("system", _gemini_text(told)), *turns] if told else turns


def _to_gemini(messages: Messages) -> dict[str, Any]:
    *system, user, assistant = messages
    told = [{"role": "system", "parts": [{"text": one["content"]}]} for one in system]
    turns = [{"role": _PARTIES[one["role"]], "parts": [{"text": one["content"]}]} for one in (user, assistant)]
    return ({"systemInstruction": told[0]} if told else {}) | {"contents": turns}


def _from_alpaca(entry: Mapping[str, Any]) -> list[tuple[str, Any]]:
    asked = [text for text in (entry["instruction"], entry.get("input")) if text]
    return list(zip(ROLES[-1 - len(asked) :], (*asked, entry["output"]), strict=True))


def _to_alpaca(messages: Messages) -> dict[str, Any]:
    *asked, answer = (one["content"] for one in messages)
    return dict(zip(("instruction", "input"), [*asked, ""], strict=False)) | {"output": answer}


_READ: Mapping[Shape, Callable[[Any], list[tuple[str, Any]]]] = {
    "chatml": lambda entry: [(one["role"], one["content"]) for one in entry["messages"]],
    "openai": lambda entry: [(one["role"], one["content"]) for one in entry["messages"]],
    "sharegpt": lambda entry: [(_of(_SPEAKERS)[one["from"]], one["value"]) for one in entry["conversations"]],
    "alpaca": _from_alpaca,
    "gemini": _from_gemini,
}
_WRITE: Mapping[Shape, Callable[[Messages], dict[str, Any]]] = {
    "chatml": lambda messages: {"messages": messages},
    "openai": lambda messages: {"messages": messages},
    "sharegpt": lambda messages: {
        "conversations": [{"from": _SPEAKERS[one["role"]], "value": one["content"]} for one in messages]
    },
    "alpaca": _to_alpaca,
    "gemini": _to_gemini,
}
