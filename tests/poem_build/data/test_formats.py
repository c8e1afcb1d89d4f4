import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from poem_build.cli.main import cli
from poem_build.data.chats import ROLES, Messages
from poem_build.data.formats import SHAPES, Shape, read_any, write_as
from poem_build.errors import DatasetError

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip())
CHATS = [[{"role": role, "content": f'{role} {n} 「引用」 "\\ \n二行目'} for role in ROLES] for n in range(12)]
BARE = [chat[1:] for chat in CHATS]
"""Without a system message."""


def _turns(*texts: str) -> list[dict[str, Any]]:
    return [{"role": role, "parts": [{"text": text}]} for role, text in zip(("user", "model"), texts, strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_is_read_again(tmp_path: Path, shape: Shape) -> None:
    path = tmp_path / "file"
    write_as(path, CHATS, shape)
    read = read_any(path)
    assert [chat for _, chat in read.chats] == CHATS
    assert read.broken == []
    assert read.shape == {"openai": "chatml"}.get(shape, shape)  # OpenAI's is the same shape


@pytest.mark.parametrize("shape", SHAPES)
def test_a_system_message_may_be_missing_in_any_shape(tmp_path: Path, shape: Shape) -> None:
    path = tmp_path / "file"
    write_as(path, BARE, shape)
    read = read_any(path)
    assert ([chat for _, chat in read.chats], read.broken) == (BARE, [])


@pytest.mark.parametrize(
    "entry",
    [
        {"instruction": "u", "output": "a"},  # as Alpaca's own set has a task without an input
        {"instruction": "u", "input": "", "output": "a"},
        {"instruction": "", "input": "u", "output": "a"},
        {"systemInstruction": None, "contents": _turns("u", "a")},
        {"contents": _turns("u", "a")},
        {"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]},
    ],
)
def test_others_leave_the_system_message_out_like_this(tmp_path: Path, entry: dict[str, Any]) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(entry) + "\n", "utf-8")
    read = read_any(path)
    assert read.broken == []
    assert read.chats == [(1, [{"role": role, "content": role[0]} for role in ROLES[1:]])]


@given(st.lists(TEXT, min_size=3, max_size=3), st.sampled_from(SHAPES))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str], shape: Shape) -> None:
    chat = [{"role": role, "content": text} for role, text in zip(ROLES, texts, strict=True)]
    path = tmp_path_factory.getbasetemp() / "any"
    write_as(path, [chat] * 10, shape)
    assert [found for _, found in read_any(path).chats] == [chat] * 10


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ("alpaca", {"instruction": "s", "input": "u", "output": "a"}),
        (
            "sharegpt",
            {
                "conversations": [
                    {"from": "system", "value": "s"},
                    {"from": "human", "value": "u"},
                    {"from": "gpt", "value": "a"},
                ]
            },
        ),
        (
            "gemini",
            {
                "systemInstruction": {"role": "system", "parts": [{"text": "s"}]},
                "contents": [
                    {"role": "user", "parts": [{"text": "u"}]},
                    {"role": "model", "parts": [{"text": "a"}]},
                ],
            },
        ),
        (
            "openai",
            {"messages": [{"role": role, "content": role[0]} for role in ROLES]},
        ),
    ],
)
def test_the_shapes_are_those_that_are_documented(tmp_path: Path, shape: Shape, first: dict[str, Any]) -> None:
    chat: Messages = [{"role": role, "content": role[0]} for role in ROLES]
    write_as(tmp_path / "file", [chat] * 10, shape)
    text = (tmp_path / "file").read_text("utf-8")
    entries = json.loads(text) if shape in ("alpaca", "sharegpt") else [json.loads(one) for one in text.splitlines()]
    assert entries == [first] * 10


def test_a_line_that_is_no_chat_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    good = json.dumps({"messages": CHATS[0]})
    bad = [{"messages": CHATS[0][::-1]}, {"messages": [*CHATS[0][:2], {"role": "assistant", "content": " "}]}, {"x": 1}]
    path = tmp_path / "file.jsonl"
    path.write_text("\n".join([good, "nonsense", *map(json.dumps, bad), good]) + "\n", "utf-8")
    read = read_any(path)
    assert [n for n, _ in read.chats] == [1, 6]
    assert [n for n, _ in read.broken] == [2, 3, 4, 5]
    assert "assistant is empty" in read.broken[2][1]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"text": 1}\n', "no line is in one of the shapes chatml"), (b"\xff", "is not UTF-8"), (b"[", "not JSON")],
)
def test_a_file_of_none_of_them_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_any(tmp_path / "file")


def test_the_command_converts_there_and_back(tmp_path: Path) -> None:
    source = tmp_path / "train.jsonl"
    write_as(source, CHATS, "chatml")
    done = CliRunner().invoke(cli, ["dataset", "convert", str(source), "--to", "gemini", "--json"])
    assert json.loads(done.output) == {
        "chats": 12,
        "from": "chatml",
        "to": "gemini",
        "path": str(tmp_path / "train.gemini.jsonl"),
    }
    back = tmp_path / "back.jsonl"
    done = CliRunner().invoke(
        cli, ["dataset", "convert", str(tmp_path / "train.gemini.jsonl"), str(back), "--to", "chatml"]
    )
    assert done.output == f"{back}: 12 chats, gemini → chatml\n"
    assert back.read_bytes() == source.read_bytes()


def test_too_few_examples_for_openai_and_a_broken_line_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "few.jsonl"
    write_as(source, CHATS[:9], "chatml")
    done = CliRunner().invoke(cli, ["dataset", "convert", str(source), "--to", "openai"])
    assert (done.exit_code, "takes 10 examples or more, got 9" in done.output) == (1, True)
    source.write_text(source.read_text("utf-8") + "nonsense\n", "utf-8")
    done = CliRunner().invoke(cli, ["dataset", "convert", str(source), "--to", "alpaca"])
    assert (done.exit_code, "line 10: not JSON" in done.output) == (1, True)
