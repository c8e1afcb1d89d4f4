"""A writer and hands → every answer with its verdict, each on disk before the next is asked for.

A process that is killed finds what was answered again, as long as recipe, code and hands are the same.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from poem.hand import Answer
from poem.prompt import render_prompt
from poem.shape import decode
from poem_build.data.examples import Example
from poem_build.engine.protocol import Reply
from poem_build.errors import ArtifactError
from poem_build.evaluation.hands import Trial
from poem_build.evaluation.writers import Tabled, Writer
from poem_build.judge.figures import Figures
from poem_build.judge.protocol import MALFORMED
from poem_build.judge.rules import Rules
from poem_build.progress import progress
from poem_build.store.digest import digest_of
from poem_build.store.folder import write_text


class Row(Figures):
    """One answer, a line of `answers.jsonl`."""

    writer: str
    hand: list[tuple[str, str]]
    candidates: list[str]
    prompt: str
    """The hand's own part of it."""
    attempt: int
    text: str
    """As it came."""
    ended: str
    verdicts: dict[str, Any]
    """What each judge said; `rules`: those that are broken, `malformed` for what is no answer."""
    prompt_tokens: int
    tokens: int
    first_s: float
    """Until the first token; 0 where nobody tells."""
    tokens_s: float
    seconds: float

    @property
    def broken(self) -> list[str]:
        """The rules that it breaks."""
        return list(self.verdicts["rules"])

    @property
    def passed(self) -> bool:
        """Whether it keeps all rules."""
        return not self.broken

    @property
    def answer(self) -> Answer | None:
        """Title and poem, if there are any."""
        return None if MALFORMED in self.broken else decode(self.text)


@dataclass(frozen=True)
class Sheet:
    """A writer's answers to every hand: its tries in order, none for a hand that it was not asked for."""

    writer: str
    trials: Sequence[Trial]
    tries: Sequence[Sequence[Row]]

    @cached_property
    def first(self) -> list[Row]:
        """The first answer to each hand that was asked."""
        return [rows[0] for rows in self.tries if rows]

    @cached_property
    def last(self) -> list[Row]:
        """What a player would get, or the last that failed."""
        return [rows[-1] for rows in self.tries if rows]

    @cached_property
    def delivered(self) -> list[tuple[Example, Row, Answer]]:
        """The hands that got a poem within the rules, with it."""
        rows = ((trial.example, tries[-1]) for trial, tries in zip(self.trials, self.tries, strict=True) if tries)
        return [(one, row, answer) for one, row in rows if row.passed and (answer := row.answer) is not None]


def play(name: str, writer: Writer, trials: Sequence[Trial], room: Path) -> Sheet:
    """Ask for each hand until an answer keeps the rules or the tries are over; seeds follow from the place."""
    room.mkdir(parents=True, exist_ok=True)
    path = room / f"answers-{digest_of(name)[:12]}.jsonl"
    known = _read(path)
    write_text(path, "".join(map(_line, known[: len(trials)])))  # a torn line goes, what was whole is never away
    with path.open("a", encoding="utf-8") as file:
        for n, trial in enumerate(progress(trials, f"{name} writes")):
            if n < len(known):
                continue
            known.append(_answered(name, writer, trial, n, len(trials)))
            file.write(_line(known[-1]))
            file.flush()
    return Sheet(name, trials, known[: len(trials)])


def write_rows(path: Path, sheets: Iterable[Sheet]) -> None:
    """Every answer of every writer, one JSON object a line."""
    rows = (row for sheet in sheets for tries in sheet.tries for row in tries)
    path.write_text("".join(f"{row.model_dump_json()}\n" for row in rows), "utf-8")


def read_rows(path: Path) -> list[Row]:
    """The answers of a file that was written so. Raises `ArtifactError` for one that is not there, or damaged."""
    found = []
    try:
        for line in path.read_bytes().splitlines():
            found.append(Row.model_validate_json(line))
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}; `poem-build eval` makes it") from error
    except ValidationError as error:
        told = f"line {len(found) + 1}: {error.errors()[0]['msg']}"
        raise ArtifactError(f"{path}: {told}; `poem-build eval` makes it anew") from error
    return found


def _answered(name: str, writer: Writer, trial: Trial, n: int, hands: int) -> list[Row]:
    rows: list[Row] = []
    while len(rows) < writer.tries and not (rows and rows[-1].passed):
        reply = writer.write(trial, n + len(rows) * hands)
        if reply is None:
            break
        titles = writer.titles if isinstance(writer, Tabled) else trial.example.candidates
        rows.append(_row(name, trial.example, titles, reply, len(rows) + 1))
    return rows


def _row(name: str, example: Example, titles: Sequence[str], reply: Reply, attempt: int) -> Row:
    judged = replace(example, candidates=tuple(titles))
    return Row(
        writer=name,
        hand=example.hand.ids(),
        candidates=list(example.candidates),
        prompt=render_prompt("", example.hand, example.candidates).user,
        attempt=attempt,
        text=reply.text,
        ended=reply.ended,
        verdicts={"rules": Rules().judge(judged, reply, name).broken},
        prompt_tokens=reply.prompt_tokens,
        tokens=reply.tokens,
        first_s=round(reply.prompt_s, 4),
        tokens_s=round(reply.tokens_s, 4),
        seconds=round(reply.seconds, 4),
    )


def _line(rows: Sequence[Row]) -> str:
    return json.dumps([row.model_dump(mode="json") for row in rows], ensure_ascii=False) + "\n"


def _read(path: Path) -> list[list[Row]]:
    """The whole lines of what was answered before; a torn one and what follows it are asked for again."""
    found: list[list[Row]] = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            found.append([Row.model_validate(row) for row in json.loads(line)])
        except (ValueError, ValidationError):
            break
    return found
