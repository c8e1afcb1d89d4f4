from dataclasses import replace
from pathlib import Path

import pytest

from poem_build.errors import TeacherError
from poem_build.teacher.journal import About, Journal
from poem_build.teacher.money import Paid
from poem_build.teacher.protocol import Said, Usage

ABOUT = About(game="a-deck", prompt="0123", teacher="gemini", model="a-model")
SAID = Said("答え", Usage(prompt=10, cached=2, output=3))


def _written(path: Path) -> None:
    journal = Journal.open(path, ABOUT)
    journal.asked("one", 0.5)
    journal.answered("one", SAID, 0.25, "", "a-model")
    journal.asked("two", 0.5)
    journal.failed("two", "status 500")
    journal.asked("three", 0.5)
    journal.close()


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "room" / "journal.jsonl"
    _written(path)
    journal = Journal.open(path, ABOUT)
    assert journal.story("one").answers == [SAID]
    assert journal.paid == [Paid("a-model", 0.25, SAID.usage)]
    assert journal.story("two").answers == []
    assert journal.in_doubt_usd == 0.5  # the third was asked, and nothing is known of it
    journal.asked("three", 0.5)
    journal.answered("three", SAID, 0.1, "", "a-model")
    assert journal.in_doubt_usd == 0.5  # the first time it was asked may still have been paid for
    journal.close()


def test_a_line_torn_at_any_byte_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    _written(path)
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    for end in range(len(content) - 1, len(content) - len(lines[-1]) - len(lines[-2]), -1):
        path.write_bytes(content[:end])
        journal = Journal.open(path, ABOUT)
        assert journal.story("one").answers == [SAID]
        journal.asked("four", 0.5)
        journal.close()
        again = Journal.open(path, ABOUT)
        assert again.story("four").waiting_usd == 0.5
        again.close()


@pytest.mark.parametrize("other", ["game", "prompt", "teacher", "model"])
def test_the_journal_of_something_else_is_refused(tmp_path: Path, other: str) -> None:
    path = tmp_path / "journal.jsonl"
    _written(path)
    about = replace(ABOUT, **{other: "another"})
    with pytest.raises(TeacherError, match=f"was written for another {other}.*give another --out, or move it away"):
        Journal.open(path, about)
    with pytest.raises(TeacherError, match=f"was written for another {other}"):
        Journal.look(path, about)
    Journal.open(path, ABOUT).close()  # and the lock is free again


def test_a_journal_is_looked_at_while_another_writes_and_nothing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "room" / "journal.jsonl"
    assert Journal.look(path, ABOUT).with_answers == set()
    assert not path.parent.exists()
    _written(path)
    writing = Journal.open(path, ABOUT)
    assert Journal.look(path, ABOUT).with_answers == {"one"}
    writing.close()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    _written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"nonsense\n", *lines[2:]]))
    with pytest.raises(TeacherError, match=r"journal\.jsonl: line 3: .*remove the line"):
        Journal.open(path, ABOUT)


def test_two_processes_do_not_write_to_one(tmp_path: Path) -> None:
    first = Journal.open(tmp_path / "journal.jsonl", ABOUT)
    with pytest.raises(TeacherError, match="another process writes to it"):
        Journal.open(tmp_path / "journal.jsonl", ABOUT)
    first.close()
