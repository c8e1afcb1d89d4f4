"""Questions → a file in Gemini's or OpenAI's batch format; answers in either, or in our own lines → what was said.

So a teacher is asked by whatever means somebody has, people with pencils among them. Our own line is that of
`poems.jsonl`: `{"pairs": [[card_id, wording_id], … 5], "title", "poem"}`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from poem.hand import Answer
from poem.shape import encode
from poem_build.errors import TeacherError
from poem_build.recipe.teaching import Teaching
from poem_build.teacher.chat import completion, openai_body
from poem_build.teacher.protocol import Ask, FailedError, Said, Turn, Usage

Format = Literal["gemini", "openai"]


class Files:
    """Answers that come as files: nobody is there to be asked."""

    name, model = "files", ""

    async def say(self, ask: Ask, turns: Sequence[Turn]) -> Said:
        """Raises `TeacherError`."""
        raise TeacherError(f"no file has an answer to {ask.key}; import one")

    async def close(self) -> None:
        """There is nothing to let go of."""


def write_asks(path: Path, asks: Iterable[Ask], spec: Teaching, form: Format) -> int:
    """One question a line, as that service's batches have it; how many there are."""
    line = {"gemini": _gemini_line, "openai": _openai_line}[form]
    lines = [json.dumps(line(ask, spec), ensure_ascii=False) + "\n" for ask in asks]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), "utf-8")
    return len(lines)


def read_answers(path: Path, asks: Sequence[Ask]) -> tuple[list[tuple[Ask, Said]], list[str]]:
    """The answers of a file with their questions, and the lines that have none, each with its reason.

    Raises `TeacherError` naming a line that is no answer, or one to a question that was not asked.
    """
    by_key = {ask.key: ask for ask in asks}
    by_hand = {_hand_key(ask.play.hand.ids()): ask for ask in asks if ask.play}
    answers, failed = [], []
    for where, entry in _entries(path):
        try:
            key, said = _answer(entry, by_hand)
        except FailedError as error:
            failed.append(f"{where}: {error}")
            continue
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise TeacherError(
                f"{where}: {error!r}; give a line of Gemini's or OpenAI's batch output, or pairs, title and poem"
            ) from error
        if key not in by_key:
            raise TeacherError(f"{where}: {key!r} was not asked; give the --phase or --hands that was exported")
        answers.append((by_key[key], said))
    return answers, failed


def _gemini_line(ask: Ask, spec: Teaching) -> dict[str, Any]:
    return {
        "key": ask.key,
        "request": {
            "systemInstruction": {"parts": [{"text": ask.system}]},
            "contents": [{"role": "user", "parts": [{"text": ask.user}]}],
            "generationConfig": {
                "temperature": spec.temperature,
                "maxOutputTokens": spec.max_tokens,
                "seed": ask.seed,
                "responseMimeType": "application/json",
                "responseJsonSchema": dict(ask.schema),
                "thinkingConfig": {"thinkingBudget": 0},
            },
        },
    }


def _openai_line(ask: Ask, spec: Teaching) -> dict[str, Any]:
    body = openai_body(spec, spec.model, ask)
    return {"custom_id": ask.key, "method": "POST", "url": "/v1/chat/completions", "body": body}


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        lines = path.read_text("utf-8-sig").split("\n")  # no other character ends one: a text may hold U+2028
    except OSError as error:
        raise TeacherError(f"{path}: {error.strerror or error}; give the file with the answers") from error
    except UnicodeDecodeError as error:
        raise TeacherError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    for n, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield f"{path}: line {n}", json.loads(line)
            except json.JSONDecodeError as error:
                raise TeacherError(f"{path}: line {n}: not JSON: {error.msg}; write one object a line") from error


def _answer(entry: Mapping[str, Any], by_hand: Mapping[str, Ask]) -> tuple[str, Said]:
    """The key and the text of one line. Raises `FailedError` for a line that tells of an error."""
    if "custom_id" in entry:
        reply = entry.get("response") or {}
        if entry.get("error") or reply.get("status_code", 200) != 200:
            raise FailedError(f"{entry['custom_id']}: {entry.get('error') or reply.get('body')}")
        return str(entry["custom_id"]), completion(reply["body"])
    if "pairs" in entry:
        key = _hand_key([(str(card), str(wording)) for card, wording in entry["pairs"]])
        text = encode(Answer(str(entry["title"]), str(entry["poem"])))
        return by_hand[key].key if key in by_hand else key, Said(text)
    if entry.get("error") or "response" not in entry:
        raise FailedError(f"{entry['key']}: {entry.get('error') or 'no response'}")
    return str(entry["key"]), _gemini_said(entry["response"])


def _gemini_said(reply: Mapping[str, Any]) -> Said:
    usage = reply.get("usageMetadata") or {}
    tokens = Usage(usage.get("promptTokenCount", 0), 0, usage.get("candidatesTokenCount", 0))
    candidates = reply.get("candidates") or []
    if not candidates:
        return Said("", tokens, "safety")
    parts = (candidates[0].get("content") or {}).get("parts") or []
    ended = {"MAX_TOKENS": "length", "SAFETY": "safety"}.get(str(candidates[0].get("finishReason")), "stop")
    return Said("".join(part.get("text", "") for part in parts), tokens, ended)  # type: ignore[arg-type]


def _hand_key(ids: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{card}/{wording}" for card, wording in sorted(ids))
