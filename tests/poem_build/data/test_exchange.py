import errno
import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from poem.game import builtin_game
from poem.shape import decode, encode
from poem_build.cli.main import cli
from poem_build.data.examples import read_examples
from poem_build.data.exchange import read_answers
from poem_build.data.hands import SPLITS
from poem_build.data.taught import read_taught
from poem_build.errors import TeacherError
from poem_build.teacher.journal import About, Journal
from poem_build.teacher.protocol import Said, Usage
from support.gemini_stand_in import poet

WRITE = poet(builtin_game())
HANDS = "60"


def _teacher(*options: Any) -> Result:
    return CliRunner().invoke(cli, ["teacher", *map(str, options), "--hands", HANDS, "--json"])


def _export(tmp_path: Path, form: str, *options: str) -> list[dict[str, Any]]:
    path = tmp_path / f"asks-{form}.jsonl"
    done = _teacher("export", path, "--out", tmp_path, "--format", form, *options)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _gemini(ask: dict[str, Any]) -> dict[str, Any]:
    text = WRITE("", ask["request"]["contents"][0]["parts"][0]["text"], 0)
    reply = {"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}]}
    return {
        "key": ask["key"],
        "response": reply | {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2}},
    }


def _openai(ask: dict[str, Any]) -> dict[str, Any]:
    text = WRITE("", ask["body"]["messages"][1]["content"], 0)
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": {}}
    return {"custom_id": ask["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


def _parts(parts: list[Any]) -> dict[str, Any]:
    return {"key": "a", "response": {"candidates": [{"content": {"parts": parts}}]}}


def _counted(tokens: Any) -> dict[str, Any]:
    return {"key": "a", "response": {"usageMetadata": {"promptTokenCount": tokens}}}


def _import(tmp_path: Path, lines: list[Any]) -> Result:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return _teacher("import", path, "--out", tmp_path)


def _told(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(("form", "answer"), [("gemini", _gemini), ("openai", _openai)])
def test_a_batch_goes_out_and_comes_back(tmp_path: Path, form: str, answer: Any) -> None:
    asks = _export(tmp_path, form)
    assert len(asks) == 60
    lines = [answer(ask) for ask in asks]
    first = _told(_import(tmp_path, lines[:20]))
    assert json.loads((tmp_path / "teacher" / "poems" / "teacher.json").read_text("utf-8"))["phase"] == 0
    assert (first["poems"], first["aside"], first["asked"]) == (20, 40, 20)
    assert _export(tmp_path, form) == asks[20:]
    assert _export(tmp_path, form, "--all") == asks
    rest = _told(_import(tmp_path, lines))
    assert (rest["poems"], rest["asked"]) == (60, 40)
    assert _told(_import(tmp_path, lines))["asked"] == 0
    assert _export(tmp_path, form) == []
    game = builtin_game()
    sizes = [len(read_examples(tmp_path / "teacher" / "poems" / f"{split}.jsonl", game)) for split in SPLITS]
    assert sizes == [48, 6, 6]


def test_what_people_write_comes_in_by_the_same_door(tmp_path: Path) -> None:
    asks = _export(tmp_path, "gemini")
    splits = {
        split: read_examples(tmp_path / "teacher" / "poems" / f"{split}.jsonl", builtin_game())
        for split in SPLITS
        if _told(_import(tmp_path, [_gemini(ask) for ask in asks]))
    }
    one = splits["train"][0]
    answer = decode(WRITE("", asks[0]["request"]["contents"][0]["parts"][0]["text"], 0))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    line = {"pairs": one.hand.ids(), "title": answer.title, "poem": answer.poem}
    assert _told(_import(elsewhere, [line]))["poems"] == 1
    broken = _told(_import(elsewhere, [line | {"poem": "短い。"}]))
    assert broken["poems"] == 1  # the good one stays
    aside = (elsewhere / "teacher" / "aside-poems.jsonl").read_text("utf-8")
    assert "not answered" in aside


def test_a_poem_that_is_imported_again_takes_the_place_of_the_former(tmp_path: Path) -> None:
    ask, game = _export(tmp_path, "gemini")[0], builtin_game()
    first, corrected = (WRITE("", ask["request"]["contents"][0]["parts"][0]["text"], turn) for turn in range(2))

    def imported(text: str) -> str:
        line = _gemini(ask)
        line["response"]["candidates"][0]["content"]["parts"][0]["text"] = text
        assert _told(_import(tmp_path, [line]))["poems"] == 1
        (one,) = read_taught(tmp_path / "teacher" / "poems", game)[0]["train"]
        return encode(one.answer)

    assert imported(first) == first
    assert imported(corrected) == corrected
    assert imported('{"title":"題","poem":"短い。"}') == corrected  # the good one stays
    assert imported(first) == first


def test_answers_that_break_the_rules_are_put_aside_with_their_reason(tmp_path: Path) -> None:
    ask = _export(tmp_path, "gemini")[0]
    line = _gemini(ask)
    line["response"]["candidates"][0]["content"]["parts"][0]["text"] = '{"title":"題","poem":"短い。"}'
    assert _told(_import(tmp_path, [line]))["poems"] == 0
    aside = [json.loads(one) for one in (tmp_path / "teacher" / "aside-poems.jsonl").read_text("utf-8").splitlines()]
    assert "length: poem: 3 characters" in next(one["reason"] for one in aside if one["ask"] == ask["key"])


def test_a_batch_that_half_failed_says_which_lines(tmp_path: Path) -> None:
    first, second = (_gemini(ask) for ask in _export(tmp_path, "gemini")[:2])
    done = _import(tmp_path, [{"key": first["key"], "error": {"code": 13, "message": "internal"}}, second])
    assert _told(done)["poems"] == 1
    assert f"Warning: {tmp_path / 'answers.jsonl'}: line 1: {first['key']}: " in done.output


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"key": "strange", "response": {}}, "line 1: 'strange' was not asked; give the --phase or --hands"),
        ({"custom_id": "strange", "response": {"body": {"choices": [{"message": {}}]}}}, "'strange' was not asked"),
        ({"pairs": [["a", "b"]], "title": "題", "poem": "詩。"}, "'a/b' was not asked"),
        ({"text": "?"}, "line 1: key: missing; give a line of Gemini's or OpenAI's batch output, or pairs, title"),
        ([1], "line 1: "),
    ],
)
def test_a_line_that_is_no_answer_is_refused_and_nothing_is_taken(tmp_path: Path, line: Any, message: str) -> None:
    done = _import(tmp_path, [line])
    assert done.exit_code == 1
    assert message in done.output
    assert "Traceback" not in done.output


def test_a_line_ends_at_a_line_break_alone(tmp_path: Path) -> None:
    first, second = (_gemini(ask) for ask in _export(tmp_path, "gemini")[:2])
    first["response"]["candidates"][0]["content"]["parts"][0]["text"] += "\u2028"
    assert _told(_import(tmp_path, [first, second]))["poems"] == 1


def _refused(path: Path, line: str) -> str:
    path.write_text(f"\n{line}\n", "utf-8")
    with pytest.raises(TeacherError) as caught:
        read_answers(path, [])
    told = str(caught.value)
    assert told.startswith(f"{path}: line 2: ")
    assert len(told.splitlines()) == 1
    assert len(told) < 600
    return told


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"key": None}, "line 2: key: None is not a text; "),
        ({"key": "a", "request": {}}, "line 2: response: missing; "),
        ({"key": "a" * 999, "response": {}}, "aa...aa"),
        ({"key": "a", "response": None}, "line 2: response: None is not an object; "),
        ({"key": "a", "response": {"candidates": "b"}}, "line 2: response.candidates: 'b' is not a list; "),
        ({"key": "a", "response": {"candidates": [None]}}, "line 2: response.candidates.0: None is not an object; "),
        (_parts([None]), "line 2: response.candidates.0.content.parts.0: None is not an object; "),
        (_parts([{"text": None}]), "line 2: response.candidates.0.content.parts.0.text: None is not a text; "),
        ({"custom_id": "a"}, "line 2: response: missing; "),
        ({"custom_id": "a", "response": {"status_code": "200"}}, "line 2: response.status_code: '200' is not a whole"),
        ({"custom_id": "a", "response": {}}, "line 2: response.body: missing; "),
        ({"custom_id": "a", "response": {"body": {"usage": {"prompt_tokens": "5"}}}}, "usage.prompt_tokens: '5' is"),
        (
            {"pairs": [[1, 2]], "title": "題", "poem": "詩。"},
            "line 2: pairs: [1, 2] is not a card's and a wording's id",
        ),
        ({"pairs": [], "title": None, "poem": "詩。"}, "line 2: title: None is not a text; "),
        (3, "line 2: 3 is not an object; "),
        ([1], "line 2: [1] is not an object; "),
        (_counted("5"), "line 2: response.usageMetadata.promptTokenCount: '5' is not a whole number; "),
        (_counted(True), "line 2: response.usageMetadata.promptTokenCount: True is not a whole number; "),
        (_counted(-5), "line 2: response.usageMetadata.promptTokenCount: -5 is no number of tokens; "),
        (_counted(10**400), " is no number of tokens; "),
        (
            _parts([{"text": "\ud83d"}]),
            "line 2: response.candidates.0.content.parts.text: character 1 is half of one; ",
        ),
    ],
)
def test_what_is_wrong_with_a_line_is_told_with_its_field(tmp_path: Path, line: Any, message: str) -> None:
    assert message in _refused(tmp_path / "answers.jsonl", json.dumps(line))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000, "line 2: nested too deeply; write one object a line"),
        ('{"key": ' + "9" * 5000 + "}", "line 2: Exceeds the limit (4300 digits)"),
        ('{"key": NaN}', "line 2: NaN is no number of JSON; correct the line or drop it"),
        ('{"key": "a", "key": "b", "response": {}}', "line 2: key: stands twice in one object; correct the line or"),
        ('{"key": "a", "resp', "line 2: not JSON: Unterminated string starting at; write one object a line"),
    ],
)
def test_what_is_no_json_is_refused_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    assert message in _refused(tmp_path / "answers.jsonl", line)


def test_a_line_that_no_journal_can_hold_is_refused_before_the_first_is_taken(tmp_path: Path) -> None:
    first, second = (_gemini(ask) for ask in _export(tmp_path, "gemini")[:2])
    second["response"]["usageMetadata"]["promptTokenCount"] = "5"
    done = _import(tmp_path, [first, second])
    assert done.exit_code == 1
    assert not (tmp_path / "teacher").exists()


def test_an_error_is_told_with_its_question_in_one_short_line(tmp_path: Path) -> None:
    *asks, good = _export(tmp_path, "openai")[:5]
    lines = [
        {"custom_id": ask["custom_id"], "response": {"status_code": 200, "body": {}}, "error": None} for ask in asks
    ]
    lines[1]["error"] = "broken\noff"
    lines[2]["response"] = {"status_code": 400, "body": "long " * 1000}
    lines[3]["response"]["body"] = {"choices": [{"message": {"content": [{"text": "a list"}]}}]}
    done = _import(tmp_path, [*lines, _openai(good)])
    assert _told(done)["asked"] == 1
    told = done.stderr.splitlines()
    assert [line.split(": ")[3] for line in told] == [line["custom_id"] for line in lines]
    assert told[1].endswith(": broken off")
    assert max(map(len, told)) < 500


def test_a_file_of_errors_alone_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    first, second = _export(tmp_path, "gemini")[:2]
    assert _told(_import(tmp_path, [_gemini(first)]))["poems"] == 1
    done = _import(tmp_path, [{"key": second["key"], "error": {"code": 13, "message": "internal"}}])
    assert done.exit_code == 1
    assert "line 1: " in done.stderr
    assert "all 1 lines are errors, so nothing was taken" in done.stderr
    splits, _ = read_taught(tmp_path / "teacher" / "poems", builtin_game())
    assert sum(map(len, splits.values())) == 1


@pytest.mark.parametrize("text", ["", "\ufeff", " \r\n\n"])
def test_a_file_without_a_line_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(TeacherError, match="no line in it; give the file with the answers"):
        read_answers(path, [])


def test_a_file_of_geminis_is_read_as_its_answers_over_the_wire_are(tmp_path: Path) -> None:
    first, second = (_gemini(ask) for ask in _export(tmp_path, "gemini")[:2])
    first["response"]["candidates"][0]["content"]["parts"].insert(0, {"text": "Let me see.", "thought": True})
    first["response"]["usageMetadata"] |= {"cachedContentTokenCount": 4, "thoughtsTokenCount": 3}
    second["response"]["candidates"] = [{"finishReason": "RECITATION"}]
    told = _told(_import(tmp_path, [first, second]))
    assert told["poems"] == 1
    assert told["ledger"]["models"]["unpaid"]["tokens"] == {"prompt": 6, "cached": 4, "output": 7, "stored": 0}
    assert "safety filter" in (tmp_path / "teacher" / "aside-poems.jsonl").read_text("utf-8")


def test_an_answer_that_was_said_to_be_cut_is_taken_when_it_comes_whole(tmp_path: Path) -> None:
    whole = _gemini(_export(tmp_path, "gemini")[0])
    cut = json.loads(json.dumps(whole))
    cut["response"]["candidates"][0]["finishReason"] = "MAX_TOKENS"
    assert _told(_import(tmp_path, [cut]))["poems"] == 0
    assert "cut off at the most tokens" in (tmp_path / "teacher" / "aside-poems.jsonl").read_text("utf-8")
    done = _told(_import(tmp_path, [cut, whole]))
    assert (done["poems"], done["asked"]) == (1, 1)


def test_questions_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _export(tmp_path, "gemini")
    path = tmp_path / "asks-gemini.jsonl"
    before = path.read_text("utf-8")

    def full(to: Path, text: str, *_: Any) -> int:
        to.write_bytes(text.encode()[:999])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(to))

    monkeypatch.setattr(Path, "write_text", full)
    done = _teacher("export", path, "--out", tmp_path)
    assert done.exit_code == 1
    assert "No space left on device; free space" in done.stderr
    monkeypatch.undo()
    assert path.read_text("utf-8") == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_questions_go_through_a_link_and_into_no_folder(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    assert _teacher("export", link, "--out", tmp_path).exit_code == 0
    assert link.is_symlink()
    assert len(target.read_text("utf-8").splitlines()) == 60
    done = _teacher("export", tmp_path, "--out", tmp_path)
    assert done.exit_code == 1
    assert f"{tmp_path}: is a folder; give the file" in done.stderr


def test_what_another_teacher_was_paid_stays_in_the_ledger(tmp_path: Path) -> None:
    lines = [_gemini(ask) for ask in _export(tmp_path, "gemini")[:1]]
    about = About("game", "prompt", "gemini", "gemini-2.5-flash")
    with closing(Journal.open(tmp_path / "teacher" / "poems-gemini-gemini-2.5-flash.jsonl", about)) as journal:
        journal.answered("key", Said("text", Usage(100, 0, 10)), 1.5, "", "gemini-2.5-flash")
        journal.asked("other", 0.25)
        for _ in range(2):
            assert _told(_import(tmp_path, lines))["ledger"]["usd"] == 0  # these took nothing
    told = json.loads((tmp_path / "teacher" / "ledger.json").read_text("utf-8"))
    assert {name: one["answers"] for name, one in told["poems"]["models"].items()} == {
        "unpaid": 1,
        "gemini-2.5-flash": 1,
    }
    assert (told["usd"], told["poems"]["in_doubt_usd"]) == (1.5, 0.25)


def test_what_is_imported_joins_what_another_teacher_wrote_and_is_not_asked_of_it(tmp_path: Path) -> None:
    out = tmp_path / "out"  # with what lies beside it nobody shares answers
    out.mkdir()
    asks = _export(out, "gemini")
    assert _told(_import(out, [_gemini(ask) for ask in asks[:3]]))["poems"] == 3
    run = _told(_teacher("run", "--teacher", "composer", "--out", out))
    assert (run["poems"], run["asked"]) == (60, 57)
    one_more = _told(_import(out, [_gemini(asks[3])]))
    assert (one_more["poems"], one_more["asked"]) == (60, 1)
    told = json.loads((out / "teacher" / "poems" / "teacher.json").read_text("utf-8"))
    assert told["teacher"] == "composer+files"


def test_a_file_in_the_ledgers_place_is_told(tmp_path: Path) -> None:
    lines = [_gemini(ask) for ask in _export(tmp_path, "gemini")[:1]]
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "ledger.json").write_text("[]", "utf-8")
    done = _import(tmp_path, lines)
    assert done.exit_code == 1
    assert "ledger.json: is no ledger; move it away" in done.stderr


def test_splits_that_nobody_has_answered_yet_are_read_as_empty(tmp_path: Path) -> None:
    assert _told(_import(tmp_path, [_gemini(ask) for ask in _export(tmp_path, "gemini")[:2]]))["poems"] == 2
    splits, _ = read_taught(tmp_path / "teacher" / "poems", builtin_game())
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 2, "valid": 0, "test": 0}
