"""Questions → a file in Gemini's or OpenAI's batch format; answers in either, or in our own lines → what was said.

So a teacher is asked by whatever means somebody has, people with pencils among them. Our own line is that of
`poems.jsonl`: `{"pairs": [[card_id, wording_id], … 5], "title", "poem"}`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from poem.hand import Answer
from poem.shape import encode
from poem_build.errors import TeacherError
from poem_build.recipe.teaching import Teaching
from poem_build.store.folder import write_text
from poem_build.store.text import lines_of, read_text
from poem_build.teacher.chat import completion, openai_body
from poem_build.teacher.fields import field, shown, whole
from poem_build.teacher.gemini import said_of, thinking_of
from poem_build.teacher.money import Price
from poem_build.teacher.protocol import Ask, FailedError, Said, Turn

Format = Literal["gemini", "openai"]


@dataclass(frozen=True)
class Files:
    """Answers that come as files, or that only lie in somebody's journal: nobody is there to be asked."""

    name: str = "files"
    model: str = ""

    async def say(self, ask: Ask, turns: Sequence[Turn]) -> Said:
        """Raises `TeacherError`."""
        raise TeacherError(f"no file has an answer to {ask.key}; import one")

    async def close(self) -> None:
        """There is nothing to let go of."""


def write_asks(path: Path, asks: Iterable[Ask], spec: Teaching, price: Price, form: Format) -> int:
    """One question a line, as that service's batches have it, the file whole or not at all; how many there are.

    Raises `TeacherError` for a folder.
    """
    line = {"gemini": _gemini_line, "openai": _openai_line}[form]
    lines = [json.dumps(line(ask, spec, price), ensure_ascii=False) + "\n" for ask in asks]
    if path.is_dir():
        raise TeacherError(f"{path}: is a folder; give the file that the questions are to go to")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a pipe, say
        path.write_text("".join(lines), "utf-8")
    else:
        write_text(path.resolve(), "".join(lines))
    return len(lines)


def read_answers(path: Path, asks: Sequence[Ask]) -> tuple[list[tuple[Ask, Said]], list[str]]:
    """The answers of a file with their questions, and the lines that have none, each with its reason.

    Raises `TeacherError` naming a line that is no answer, or one to a question that was not asked, and for a file
    without lines.
    """
    by_key = {ask.key: ask for ask in asks}
    by_hand = {_hand_key(ask.play.hand.ids()): ask for ask in asks if ask.play}
    answers, failed = [], []
    for where, entry in _entries(path):
        try:
            key, said = _answer(entry, by_hand)
        except FailedError as error:
            failed.append(f"{where}: {_one_line(str(error))}")
            continue
        except ValueError as error:
            raise TeacherError(
                f"{where}: {error}; give a line of Gemini's or OpenAI's batch output, or pairs, title and poem"
            ) from error
        if key not in by_key:
            raise TeacherError(
                f"{where}: {shown(key)} was not asked; give the --phase or --hands that was exported, "
                "of the same --game and --recipe"
            )
        answers.append((by_key[key], said))
    if not (answers or failed):
        raise TeacherError(f"{path}: no line in it; give the file with the answers")
    return answers, failed


def _gemini_line(ask: Ask, spec: Teaching, price: Price) -> dict[str, Any]:
    return {
        "key": ask.key,
        "request": {
            "systemInstruction": {"parts": [{"text": ask.system}]},
            "contents": [{"role": "user", "parts": [{"text": ask.user}]}],
            "generationConfig": {
                "temperature": spec.temperature,
                "maxOutputTokens": spec.max_tokens + price.thinking,
                "seed": ask.seed,
                "responseMimeType": "application/json",
                "responseJsonSchema": dict(ask.schema),
                "thinkingConfig": thinking_of(price),
            },
        },
    }


def _openai_line(ask: Ask, spec: Teaching, price: Price) -> dict[str, Any]:
    body = openai_body(spec, price, ask)
    return {"custom_id": ask.key, "method": "POST", "url": "/v1/chat/completions", "body": body}


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    for n, line in lines_of(read_text(path, TeacherError, "give the file with the answers")):
        where = f"{path}: line {n}"
        try:
            yield where, json.loads(line, object_pairs_hook=_once, parse_constant=_no_number)
        except json.JSONDecodeError as error:
            raise TeacherError(f"{where}: not JSON: {error.msg}; write one object a line") from error
        except RecursionError as error:
            raise TeacherError(f"{where}: nested too deeply; write one object a line") from error
        except ValueError as error:  # a hook's, or a number of thousands of digits
            told = str(error).partition(";")[0]
            raise TeacherError(f"{where}: {told}; correct the line or drop it") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)}: stands twice in one object")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _answer(entry: Any, by_hand: Mapping[str, Ask]) -> tuple[str, Said]:
    """The key and the text of one line.

    Raises `FailedError` for a line that tells of an error, `ValueError` naming the field of one that is no answer.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{shown(entry)} is not an object")
    if "custom_id" in entry:
        return _openai_answer(entry)
    if "pairs" in entry:
        return _own_answer(entry, by_hand)
    key = field(entry, "key", str)
    if entry.get("error") or not ("response" in entry or "request" in entry):
        raise FailedError(f"{key}: {entry.get('error') or 'no response'}")
    said = said_of(field(entry, "response", dict), "response.")
    return key, whole(said, "response.candidates.0.content.parts.text")


def _openai_answer(entry: Mapping[str, Any]) -> tuple[str, Said]:
    key = field(entry, "custom_id", str)
    if entry.get("error"):
        raise FailedError(f"{key}: {entry['error']}")
    reply = field(entry, "response", dict)
    if "status_code" in reply and field(reply, "status_code", int, "response.") != 200:
        raise FailedError(f"{key}: {reply.get('body')}")
    body = field(reply, "body", dict, "response.")
    try:
        said = completion(body, "response.body.")
    except FailedError as error:
        raise FailedError(f"{key}: {error}") from error
    return key, whole(said, "response.body.choices.0.message.content")


def _own_answer(entry: Mapping[str, Any], by_hand: Mapping[str, Ask]) -> tuple[str, Said]:
    ids = []
    for pair in field(entry, "pairs", list):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) for one in pair)):
            raise ValueError(f"pairs: {shown(pair)} is not a card's and a wording's id")
        ids.append((pair[0], pair[1]))
    key = _hand_key(ids)
    text = encode(Answer(field(entry, "title", str), field(entry, "poem", str)))
    return by_hand[key].key if key in by_hand else key, whole(Said(text), "title or poem")


def _one_line(text: str) -> str:
    told = " ".join(text.split())
    return told if len(told) <= 300 else f"{told[:300]}…"


def _hand_key(ids: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{card}/{wording}" for card, wording in sorted(ids))
