"""A JSONL file of chats, `{"messages": [system, user, assistant]}` a line ⇄ their messages, whatever they say."""

import json
from collections.abc import Iterable
from pathlib import Path

from poem_build.errors import DatasetError
from poem_build.store.text import read_text

ROLES = ["system", "user", "assistant"]
Messages = list[dict[str, str]]


def write_chats(path: Path, chats: Iterable[Messages]) -> None:
    """One JSON object a line."""
    lines = (json.dumps({"messages": messages}, ensure_ascii=False) + "\n" for messages in chats)
    path.write_text("".join(lines), "utf-8")


def read_chats(path: Path) -> list[Messages]:
    """The messages of each line, checked for their form.

    Raises `DatasetError` naming the file, the line, the field and the remedy.
    """
    text = read_text(path, DatasetError, "`poem-build dataset` makes it")
    return [_chat(line, f"{path}: line {n}") for n, line in enumerate(text.rstrip("\n").split("\n"), 1)]


def _chat(line: str, where: str) -> Messages:
    try:
        messages = json.loads(line)["messages"]
        roles = [message["role"] for message in messages]
        contents = [str(message["content"]) for message in messages]
    except json.JSONDecodeError as error:
        raise DatasetError(f"{where}: column {error.colno}: not JSON: {error.msg}; write one object a line") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{where}: messages: must be three objects of role and content") from error
    if roles != ROLES:
        raise DatasetError(f"{where}: messages: roles must be {', '.join(ROLES)}, got {roles}")
    return [{"role": role, "content": content} for role, content in zip(ROLES, contents, strict=True)]
