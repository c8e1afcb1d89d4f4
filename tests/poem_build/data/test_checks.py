import json
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

from poem.game import builtin_game
from poem.hand import Answer, draw_candidates
from poem_build.cli.main import cli
from poem_build.data.chats import ROLES, read_chats, write_chats
from poem_build.data.checks import check_files
from poem_build.data.examples import Example, write_examples
from poem_build.data.hands import candidates_with, hands, split_of
from poem_build.data.near import Near
from poem_build.data.personal import personal
from poem_build.report.dataset_page import write_report
from poem_build.teacher.composer import Composer

GAME = builtin_game()


def _examples(count: int, split: Any = "train") -> list[Example]:
    rng, composer = Random(5), Composer(GAME)
    found: list[Example] = []
    for hand in islice(hands(GAME.deck, split, rng), 4 * count):
        titles = draw_candidates(GAME.deck, rng)
        if len(found) < count and (answer := composer.write(hand, titles, rng.getrandbits(20))):
            found.append(Example(hand, titles, answer))
    return found


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    write_examples(paths[0], GAME, _examples(20))
    write_examples(paths[1], GAME, _examples(5, "test"))
    return paths


def _kinds(*paths: Path) -> dict[str, int]:
    return dict(Counter(one.kind for one in check_files(paths, GAME).problems))


def test_a_sound_data_set_has_no_problems_and_its_figures(files: tuple[Path, Path], tmp_path: Path) -> None:
    report = tmp_path / "report"
    done = CliRunner().invoke(cli, ["dataset", "check", *map(str, files), "--report", str(report)])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"nothing wrong; {report / 'report.html'}"
    told = json.loads((report / "report.json").read_text("utf-8"))
    assert [one["chats"] for one in told["files"].values()] == [20, 5]
    assert told["variety"]["poems"] == 25
    assert 0 < told["variety"]["distinct"]["2"] < told["variety"]["distinct"]["4"] < 1
    page = (report / "report.html").read_text("utf-8")
    assert page.count("<svg") == 1
    assert "<p>None.</p>" in page
    write_report(tmp_path / "again", check_files(files, GAME))
    assert (tmp_path / "again" / "report.html").read_text("utf-8") == page


def test_a_poem_that_comes_again_leaks_or_is_a_duplicate(files: tuple[Path, Path]) -> None:
    train, test = files
    lines = train.read_text("utf-8").splitlines(keepends=True)
    test.write_text(test.read_text("utf-8") + lines[0], "utf-8")
    assert _kinds(train, test) == {"leak": 2}  # the hand, and the text
    one, other = _examples(2)
    moved = Example(other.hand, (one.answer.title, *other.candidates[1:]), one.answer)
    write_examples(train, GAME, [one, moved])
    assert _kinds(train).pop("duplicate") == 1


def test_a_poem_that_is_nearly_another_is_found(files: tuple[Path, Path]) -> None:
    train, test = files
    first = _examples(1)[0]
    stranger = _examples(6, "test")[-1]
    changed = Answer(stranger.answer.title, first.answer.poem.replace("、", "", 1))
    write_examples(test, GAME, [Example(stranger.hand, stranger.candidates, changed)])
    found = [one for one in check_files([train, test], GAME).problems if one.kind == "leak"]
    assert [one.what.split(" (")[0] for one in found] == [f"nearly the text of {train}: line 1"]


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda text: text, "malformed"),
        (lambda text: text.replace("。", "です。", 1), "rules"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_and_the_command_fails(
    files: tuple[Path, Path], spoil: Any, kind: str
) -> None:
    train, _ = files
    lines = train.read_text("utf-8").splitlines()
    chat = json.loads(lines[0])
    chat["messages"][2]["content"] = spoil(chat["messages"][2]["content"])
    lines[0] = json.dumps(chat, ensure_ascii=False) if kind == "rules" else "nonsense"
    train.write_text("\n".join(lines) + "\n", "utf-8")
    done: Result = CliRunner().invoke(cli, ["dataset", "check", str(train)])
    assert done.exit_code == 1
    assert f"{train}: line 1: {kind}: " in done.output


def test_a_data_set_without_a_line_that_can_be_read_has_a_page_too(tmp_path: Path) -> None:
    path, report = tmp_path / "train.jsonl", tmp_path / "report"
    path.write_text('{"messages": []}\n', "utf-8")
    done = CliRunner().invoke(cli, ["dataset", "check", str(path), "--report", str(report)])
    assert f"{path}: line 1: malformed: " in done.output
    page = (report / "report.html").read_text("utf-8")
    assert "<p>No poem could be read.</p>" in page
    assert page.count("<svg") == 1  # the problems


@pytest.mark.parametrize(("place", "role"), list(enumerate(ROLES)))
def test_personal_data_in_any_message_is_found(files: tuple[Path, Path], place: int, role: str) -> None:
    train, _ = files
    lines = train.read_text("utf-8").splitlines()
    chat = json.loads(lines[0])
    chat["messages"][place]["content"] = chat["messages"][place]["content"].replace("。", "。電話は03-1234-5678。", 1)
    train.write_text("\n".join([json.dumps(chat, ensure_ascii=False), *lines[1:]]) + "\n", "utf-8")
    found = [(one.where, one.what) for one in check_files([train], GAME).problems if one.kind == "personal data"]
    assert found == [(f"{train}: line 1", f"telephone number 03-1234-5678 ({role})")]
    assert _kinds(train) == {"personal data": 1, "rules": 1}


def test_a_system_message_may_be_missing(files: tuple[Path, Path]) -> None:
    train, _ = files
    chats = [chat[1:] for chat in read_chats(train)]
    write_chats(train, chats)
    assert _kinds(train) == {}
    chats[3][1]["content"] = chats[3][1]["content"].replace("。", "です。", 1)
    chats[4][0]["content"] += "\n急いで。"
    write_chats(train, chats)
    assert [(one.kind, one.where, one.what.split(": ")[0]) for one in check_files([train], GAME).problems] == [
        ("rules", f"{train}: line 4", "messages.1.content"),
        ("rules", f"{train}: line 5", "messages.0.content"),
    ]


def test_what_stands_twice_in_a_stranger_s_file_is_a_warning_with_its_lines(files: tuple[Path, Path]) -> None:
    train, _ = files
    one, two, *others = _examples(6)
    again = replace(two, candidates=two.candidates[::-1])
    write_examples(train, GAME, [one, two, *others, one, again, *[one] * 5])
    done = CliRunner().invoke(cli, ["dataset", "check", str(train)])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[:2] == [
        f"Warning: {train}: line 1: duplicate: the same conversation 7 times, on lines 1, 7, 9, 10, 11 and 2 more",
        f"Warning: {train}: line 2: duplicate: the same answer 2 times, on lines 2, 8",
    ]
    assert done.output.splitlines()[-1] == "2 duplicate"


def test_poems_by_hand_come_as_often_as_the_data_set_says(tmp_path: Path) -> None:
    by_hand = [poem for poem in GAME.poems if not poem.held_out and split_of(poem.hand) == "train"][:3]
    rng = Random(1)
    twice = [
        Example(one.hand, candidates_with(one.answer.title, GAME.deck, rng), one.answer) for one in [*by_hand, *by_hand]
    ]
    composed = _examples(4)
    train, about = tmp_path / "train.jsonl", tmp_path / "dataset.json"
    write_examples(train, GAME, [*composed, *twice])
    about.write_text('{"handwritten": 6}', "utf-8")
    assert _kinds(train) == {}
    write_examples(train, GAME, [*composed, *twice, twice[0]])  # once more than is told
    assert _kinds(train) == {"duplicate": 1}
    write_examples(train, GAME, [*composed, composed[0], *twice])
    assert _kinds(train) == {"duplicate": 1}
    done = CliRunner().invoke(cli, ["dataset", "check", str(train)])
    assert (done.exit_code, done.output.splitlines()[0]) == (
        1,
        f"{train}: line 1: duplicate: the same conversation 2 times, on lines 1, 5",
    )
    about.unlink()
    assert {(one.kind, one.fails) for one in check_files([train], GAME).problems} == {("duplicate", False)}
    assert _kinds(train) == {"duplicate": 4}
    (tmp_path / "teacher.json").write_text("{}", "utf-8")  # a teacher repeats nothing
    assert {one.fails for one in check_files([train], GAME).problems} == {True}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("連絡は taro.yamada@example.co.jp まで。", [("mail address", "taro.yamada@example.co.jp")]),
        ("電話は03-1234-5678、", [("telephone number", "03-1234-5678")]),
        ("電話は090-1234-5678へ", [("telephone number", "090-1234-5678")]),
        ("番号は1234 5678 9018である", [("My Number", "1234 5678 9018")]),
        ("番号は123456789018である", [("My Number", "123456789018")]),
        ("番号は123456789012である", []),
        ("築四十二年、二千二十六年の春、三十五年の歳月。", []),
        ("一九六四年、10階、2,500戸。", []),
    ],
)
def test_what_may_be_about_a_person(text: str, found: list[tuple[str, str]]) -> None:
    assert list(personal(text)) == found


def test_what_a_teacher_says_too_often_is_told(files: tuple[Path, Path]) -> None:
    train, _ = files
    poems = [
        Example(e.hand, e.candidates, Answer(e.answer.title, e.answer.poem + "夕凪の汽笛が鳴る。"))
        for e in _examples(10)
    ]
    write_examples(train, GAME, poems)
    variety = check_files([train], GAME).variety
    assert variety["endings"]["が鳴る。"] >= 10
    assert next(iter(variety["tics"].values())) >= 10
    assert [phrase for phrase in variety["tics"] if "汽笛" in phrase] == ["夕凪の汽笛が鳴る"]


def test_near_texts_are_found_and_others_are_not() -> None:
    near = Near(0.6)
    near.add("one", "茜が、帰る人の背をそっと押す。街の名残をひとつずつほどいていく。")
    assert [name for name, _ in near.like("茜が、帰る人の背をそっと押す。街の名残をひとつずつほどく。")] == ["one"]
    assert list(near.like("入江の光は、日を選ばない。朝の書斎にも同じ静けさをたたえた波が寄せる。")) == []
