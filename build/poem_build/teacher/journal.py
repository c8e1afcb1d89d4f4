"""Questions and answers → a file of lines, each on disk before anything else is asked; read again after any death.

A line is written when a question goes out, with what it may cost at the most, and another when its answer is there.
So a process that is killed between the two leaves a question in doubt, which counts as paid, and nothing else.
"""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from poem_build.errors import TeacherError
from poem_build.teacher.money import Paid
from poem_build.teacher.protocol import Said, Usage

FORMAT = 1


@dataclass(frozen=True, slots=True)
class About:
    """Whose journal it is: answers for another game, prompt or teacher are no answers here."""

    game: str
    """The deck's digest: sentences that are written later change no question."""
    prompt: str
    teacher: str
    model: str

    def as_json(self) -> dict[str, Any]:
        """The first line of the file."""
        return {"journal": FORMAT, **asdict(self)}


@dataclass
class Story:
    """What is known of one question: answers in order, and what went out without one."""

    answers: list[Said] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    """What was said about each; empty where it was taken."""
    paid_usd: float = 0.0
    """For all the answers."""
    waiting_usd: float | None = None
    """What the question that is out now may cost at the most; None when none is."""
    lost_usd: float = 0.0
    """What questions may have cost that went out and were never answered."""

    @property
    def in_doubt_usd(self) -> float:
        """What may have been paid for no answer."""
        return (self.waiting_usd or 0.0) + self.lost_usd


class Journal:
    """The file, open for appending; one process at a time."""

    def __init__(self, path: Path, about: About) -> None:
        self._path, self.about = path, about
        self._lock = FileLock(path.with_suffix(".lock"))
        self._stories: dict[str, Story] = {}
        self.paid: list[Paid] = []
        """For every answer."""
        self.notes: list[Mapping[str, Any]] = []
        self._file: FileIO | None = None

    @classmethod
    def open(cls, path: Path, about: About, *, anew: bool = False) -> Self:
        """The journal at that path, made if it is not there, or begun `anew`.

        A torn last line is cut off: what it was to say was not yet relied upon. Raises `TeacherError` for a journal
        of something else, a damaged one, or one that another process writes to.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        journal = cls(path, about)
        try:
            journal._lock.acquire(timeout=0)
        except Timeout as error:
            raise TeacherError(f"{path}: another process writes to it; wait until that has ended") from error
        try:
            journal._read(anew=anew)
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def look(cls, path: Path, about: About) -> Self:
        """The journal at that path as it stands, empty where none is; nothing can be written to it.

        Raises `TeacherError` for a journal of something else, or a damaged one.
        """
        journal = cls(path, about)
        if not path.is_file():
            return journal
        there = journal._standing(path)
        journal._refuse_other(there.about.as_json())
        return there

    def others(self, what: str) -> Iterator[Self]:
        """The journals of that kind beside this one, other teachers', as they stand; nothing can be written to them.

        Raises `TeacherError` for a damaged one.
        """
        for path in sorted(self._path.parent.glob(f"{what}-*.jsonl")):
            if path != self._path:
                yield self._standing(path)

    def elsewhere(self, name: str) -> Iterator[Self]:
        """The journals of that name that lie with other recipes' artifacts, if written for this game and prompt.

        As they stand; what is no journal is passed over. Raises `TeacherError` for a damaged one.
        """
        room, mine = self._path.parent, (self.about.game, self.about.prompt)
        for path in sorted(room.parent.parent.glob(f"*/{room.name}/{name}.jsonl")):
            about = None if path.parent == room else _about_of(path)
            if about is not None and (about.game, about.prompt) == mine:
                yield self._standing(path)

    def _standing(self, path: Path) -> Self:
        """A journal that is only looked at."""
        other, content = type(self)(path, _about_of(path) or self.about), path.read_bytes()
        for entry in other._lines(content[: content.rfind(b"\n") + 1]):  # the last line may be half written
            other._take(entry)
        return other

    def story(self, key: str) -> Story:
        """What is known of a question; an empty story if it was never asked."""
        return self._stories.setdefault(key, Story())

    @property
    def name(self) -> str:
        """The file's, without its end: what is asked for, and who is asked."""
        return self._path.stem

    @property
    def with_answers(self) -> set[str]:
        """The keys of the questions that have answers, good ones or not."""
        return {key for key, story in self._stories.items() if story.answers}

    @property
    def in_doubt_usd(self) -> float:
        """What questions that were never answered may have cost."""
        return sum(story.in_doubt_usd for story in self._stories.values())

    @property
    def spent_usd(self) -> float:
        """What was paid, and what may have been."""
        return sum(one.usd for one in self.paid) + self.in_doubt_usd

    def asked(self, key: str, most_usd: float) -> None:
        """A question goes out, and costs so much at the most."""
        self._append({"asked": key, "most_usd": most_usd})

    def failed(self, key: str, reason: str) -> None:
        """The question was answered by an error for which nothing is taken."""
        self._append({"failed": key, "reason": reason})

    def answered(
        self,
        key: str,
        said: Said,
        cost_usd: float,
        verdict: str,
        model: str,
        by_kind: Mapping[str, float] | None = None,
    ) -> None:
        """An answer is there, and this is what was said about it."""
        self._append(
            {
                "answered": key,
                "text": said.text,
                "ended": said.ended,
                "tokens": asdict(said.usage),
                "usd": cost_usd,
                "usd_by_kind": by_kind or {},
                "verdict": verdict,
                "model": model,
            }
        )

    def note(self, what: str, **fields: Any) -> None:
        """Anything else that somebody may want to know later: a gate that was forced, say.

        The `keys` of a batch go out with its note, each of which costs as much of `most_usd` at the most.
        """
        self._append({"note": what, **fields})

    def close(self) -> None:
        """Let other processes in."""
        if self._file is not None:
            self._file.close()
        self._lock.release()

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = (json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        assert self._file is not None
        start = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(start)  # half a line must not stand between whole ones
            raise
        self._take(entry)

    def _read(self, *, anew: bool) -> None:
        self._file = FileIO(self._path, "a+")
        if anew:
            self._file.truncate(0)
        self._file.seek(0)
        content = self._file.readall()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        lines = self._lines(whole)
        first = next(lines, None)
        if first is None:
            self._append(self.about.as_json())
        else:
            self._refuse_other(first)
        for entry in lines:
            self._take(entry)

    def _refuse_other(self, first: Mapping[str, Any]) -> None:
        """Raises `TeacherError` for the first line of a journal of something else."""
        other = next((key for key, value in self.about.as_json().items() if first.get(key) != value), None)
        if other:
            raise TeacherError(
                f"{self._path}: was written for another {other} ({first.get(other)!r}); "
                "give another --out, or move it away"
            )

    def _lines(self, content: bytes) -> Iterator[dict[str, Any]]:
        for n, line in enumerate(content.splitlines(), 1):
            try:
                entry = json.loads(line)
                if not isinstance(entry, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                raise TeacherError(f"{self._path}: line {n}: {error}; remove the line, its answer is lost") from error
            yield entry

    def _take(self, entry: Mapping[str, Any]) -> None:
        if key := entry.get("asked"):
            self._goes_out(key, entry["most_usd"])
        elif key := entry.get("failed"):
            self.story(key).waiting_usd = None
        elif key := entry.get("answered"):
            usage, story = Usage(**entry["tokens"]), self.story(key)
            story.waiting_usd = None
            story.paid_usd += entry["usd"]
            story.answers.append(Said(entry["text"], usage, entry["ended"]))
            story.verdicts.append(entry["verdict"])
            self.paid.append(Paid(entry["model"], entry["usd"], usage, entry.get("usd_by_kind", {})))
        elif "note" in entry:
            self.notes.append(entry)
            for key, most_usd in zip(entry.get("keys", ()), entry.get("most_usd", ()), strict=False):
                self._goes_out(key, most_usd)

    def _goes_out(self, key: str, most_usd: float) -> None:
        story = self.story(key)
        story.lost_usd = story.in_doubt_usd
        story.waiting_usd = most_usd


def _about_of(path: Path) -> About | None:
    """Whose journal lies there; None for what is no journal of this format."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline())
        return About(**first) if first.pop("journal", None) == FORMAT else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None
