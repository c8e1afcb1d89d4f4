import json
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

from poem.game import builtin_game
from poem.hand import Answer, draw_candidates
from poem_build.cli.main import cli
from poem_build.data.checks import check_files
from poem_build.data.examples import Example, write_examples
from poem_build.data.hands import hands
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


def test_personal_data_in_an_answer_is_found(files: tuple[Path, Path]) -> None:
    train, _ = files
    lines = train.read_text("utf-8").splitlines()
    chat = json.loads(lines[0])
    chat["messages"][2]["content"] = chat["messages"][2]["content"].replace("。", "。電話は03-1234-5678。", 1)
    train.write_text("\n".join([json.dumps(chat, ensure_ascii=False), *lines[1:]]) + "\n", "utf-8")
    assert _kinds(train) == {"personal data": 1, "rules": 1}


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
