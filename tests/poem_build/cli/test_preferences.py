"""`dataset preferences` as a command: real engines answer, and a process that is killed goes on."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from poem.game import builtin_game
from poem.outline import decode_outline
from poem_build.cli.main import cli
from support.gemini_stand_in import poet
from support.judges import judges, reader
from support.tiny_gguf import write_tiny_gguf

GAME = builtin_game()
COMMAND = [sys.executable, "-c", "from poem_build.cli.main import main; main()", "dataset", "preferences"]


class Mind:
    """Writes three poems a hand within the rules, then one that breaks them; as a judge it takes the longer one.

    At the questions of these numbers whoever asks is killed.
    """

    def __init__(self) -> None:
        self.hands: Counter[str] = Counter()
        self.asked, self.deaths = 0, set[int]()
        self.asker: subprocess.Popen[bytes] | None = None
        self._write, self._judge = poet(GAME), reader(len)

    def __call__(self, instructions: str, question: str) -> Any:
        self.asked += 1
        if self.asker and self.asked in self.deaths:
            self.asker.kill()
        if "【甲】" in question:
            return self._judge(instructions, question)
        place = self.hands[question] % 4
        self.hands[question] += 1
        text = self._write(instructions, question, place)
        return text.replace("。", "です。") if place == 3 else text


@pytest.fixture
def choice(tmp_path: Path, recipe_file: Path) -> list[str]:
    """A recipe whose judge may be asked at any rate, a folder, and prices."""
    recipe, prices = tmp_path / "mini.toml", tmp_path / "prices.toml"
    recipe.write_text(recipe_file.read_text("utf-8") + "[teacher]\nper_minute = 60000\nat_once = 1\n", "utf-8")
    entry = "prompt = 1\ncached = 0\noutput = 1\nsource = 'here'\ndated = 'now'"
    prices.write_text(f"yen_per_dollar = 100\nyen_source = 'here'\n[models.j]\n{entry}\n", "utf-8")
    return ["--recipe", str(recipe), "--out", str(tmp_path / "out"), "--prices", str(prices)]


def _run(choice: list[str], *options: object, **environ: str) -> Result:
    command = ["dataset", "preferences", *choice, *map(str, options)]
    return CliRunner().invoke(cli, command, env={"OPENAI_API_KEY": "", **environ})


def test_killed_at_any_moment_it_goes_on_and_asks_nothing_twice(choice: list[str], tmp_path: Path) -> None:
    """At the fifth answer, and at the third question to the judge; an answer that was out is all that is lost."""
    mind, asked = Mind(), ["--writer", "openai:w", "--hands", "3", "--answers", "4", "--judge", "openai:j"]
    with judges(mind) as bench:
        environ = {"OPENAI_BASE_URL": f"{bench.url}/v1", "OPENAI_API_KEY": ""}
        dry = _run(choice, *asked, "--dry-run", **environ)
        assert (dry.exit_code, mind.asked) == (0, 0), dry.output
        assert dry.output.startswith(
            "openai:w: 12 answers to 3 hands, if none is there; openai:j: up to 36 questions, $"
        )
        mind.deaths = {5, 1 + 12 + 3}
        for _ in mind.deaths:
            command = [*COMMAND, *choice, *asked]
            mind.asker = subprocess.Popen(command, env=os.environ | environ, stderr=subprocess.DEVNULL)
            assert mind.asker.wait() == -signal.SIGKILL
        assert not (tmp_path / "out" / "preferences" / "pairs.jsonl").exists()
        done = _run(choice, *asked, "--json", **environ)
        assert done.exit_code == 0, done.output
        assert mind.asked == 12 + 18 + 2
        assert _run(choice, *asked, **environ).exit_code == 0
        assert mind.asked == 12 + 18 + 2
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["keeping"], told["breaking"], told["compared"], told["orders_agree"]) == (9, 3, 9, 1.0)
    assert told["pairs"] == {"rules": 3, "judge": 9 - told["ties"]}
    assert told["cost_usd"] > 0
    lines = [json.loads(line) for line in Path(told["path"]).read_text("utf-8").splitlines()]
    assert len({(str(one["hand"]), one["chosen"], one["rejected"]) for one in lines}) == len(lines)
    assert {one["why"] for one in lines} == {"rules", "judge"}
    assert all(one["scores"]["rejected"]["broken"] for one in lines if one["why"] == "rules")
    assert [message["role"] for message in lines[0]["prompt"]] == ["system", "user"]


def test_a_model_here_answers_and_where_nothing_is_better_that_is_said(choice: list[str], tmp_path: Path) -> None:
    """One of random weights keeps no rule; its answers are on disk all the same."""
    asked = ("--writer", f"embedded:{write_tiny_gguf(tmp_path / 'random.gguf')}", "--hands", 1, "--answers", 2)
    room = tmp_path / "out" / "preferences"
    for _ in range(2):
        done = _run(choice, *asked)
        assert done.exit_code == 1, done.output
        told = f"Error: {room}: nothing is preferred to anything: 0 of 2 answers keep the rules, "
        assert done.output.splitlines()[-1].startswith(told)
        (journal,) = room.glob("answers-*.jsonl")
        assert len(journal.read_text("utf-8").splitlines()) == 3


def test_a_model_of_two_stages_answers_for_a_recipe_of_two_and_for_no_other(choice: list[str], tmp_path: Path) -> None:
    writer = f"embedded:{write_tiny_gguf(tmp_path / 'staged.gguf', stages=2)}"
    room, asked = tmp_path / "out" / "preferences", ("--writer", writer, "--hands", 1, "--answers", 2)
    done = _run(choice, *asked)
    assert done.output.splitlines()[-1] == (
        f"Error: --writer {writer}: writes in two stages, recipe mini in one stage (dataset.stages), so it would learn "
        "from what it is never asked; give the recipe of that model, or another model"
    )
    assert not room.exists()
    recipe = tmp_path / "mini.toml"
    recipe.write_text(recipe.read_text("utf-8").replace("[dataset]", "[dataset]\nstages = 2"), "utf-8")
    done = _run(choice, *asked)
    assert done.output.splitlines()[-1].startswith(f"Error: {room}: nothing is preferred to anything: 0 of 2 answers ")
    (journal,) = room.glob("answers-*.jsonl")
    about, outline, *poems = map(json.loads, journal.read_text("utf-8").splitlines())
    assert about["prompt"] == GAME.prompt_in(2)
    assert decode_outline(outline["text"])
    assert len(poems) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--writer", "nobody"], "--writer nobody: nobody is called so"),
        (["--writer", "composer"], "--writer composer: is no model; give one of "),
        (["--writer", "embedded:gone.gguf"], "--writer embedded:gone.gguf: gone.gguf: no such file"),
        (["--judge", "composer:x"], "--judge composer:x: give KIND:MODEL"),
        (["--judge", "openai:unpriced"], "no price for 'unpriced'"),
        (["--writer", "openai:w"], "/chat/completions: "),
        (["--writer", "ollama:m"], "OLLAMA_HOST http://127.0.0.1:9: "),
        ([], "has to be made first"),
    ],
)
def test_what_cannot_be_asked_is_one_line(choice: list[str], options: list[str], told: str) -> None:
    done = _run(choice, *options, "--ollama", "http://127.0.0.1:9", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    last = done.output.splitlines()[-1]
    assert (done.exit_code, last.startswith("Error: "), told in last) == (1, True, True), done.output


def test_a_damaged_journal_is_named(choice: list[str], tmp_path: Path) -> None:
    with judges(Mind()) as bench:
        environ = {"OPENAI_BASE_URL": f"{bench.url}/v1"}
        asked = ("--writer", "openai:w", "--hands", 1, "--answers", 4)
        assert _run(choice, *asked, **environ).exit_code == 0
        (journal,) = (tmp_path / "out" / "preferences").glob("answers-*.jsonl")
        lines = journal.read_text("utf-8").splitlines()
        journal.write_text("\n".join([lines[0], "{", *lines[2:]]) + "\n", "utf-8")
        done = _run(choice, *asked, **environ)
    assert done.output.splitlines()[-1].startswith(f"Error: {journal}: line 2: ")
