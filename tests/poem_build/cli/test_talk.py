"""The conversation: in this process, over a real Ollama, in a pipe and on a terminal."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from poem.game import builtin_game
from poem.hand import Answer
from poem.shape import encode
from poem_build.cli import pipeline, talk
from poem_build.cli.main import cli
from poem_build.engine.embedded import Embedded
from poem_build.engine.protocol import Question, Reply
from poem_build.errors import OllamaError, UnfinishedError
from poem_build.models.family import Messages, family
from poem_build.models.files import SERVED
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact
from support.chain import workshop_of

Chain = dict[str, Artifact]
GAME = builtin_game()
COMMAND = [
    sys.executable,
    "-c",
    "from poem_build.cli.main import main; main()",
    "chat",
    "--engine",
    "embedded",
    "--seed",
    "1",
]


class Parrot:
    """An engine that says what it is told to, and keeps what it was asked."""

    name = "parrot"

    def __init__(self, *pieces: str, cut: bool = False) -> None:
        self.pieces, self.cut = pieces, cut
        self.asked: list[Messages] = []

    def ask(self, question: Question) -> Reply:
        return Reply("".join(self.pieces), "length" if self.cut else "stop")

    def stream(self, question: Question) -> Iterator[str]:
        self.asked.append(list(question.messages))
        yield from self.pieces
        if self.cut:
            raise UnfinishedError("cut")


@pytest.fixture(scope="module")
def embedded(chain: Chain, out: Path, recipe: Recipe) -> Embedded:
    return Embedded(out / "gguf" / SERVED, family(recipe.base.family), recipe.serve)


def test_what_was_said_is_remembered_until_it_is_forgotten() -> None:
    parrot = Parrot("は", "い")
    conversation = talk.Talk(parrot, GAME, Random(0))
    assert "".join(conversation.say("一")) == "はい"
    assert "".join(conversation.say("二")) == "はい"
    assert [message["content"] for message in parrot.asked[1]] == [GAME.instructions, "一", "はい", "二"]
    conversation.reset()
    list(conversation.say("三"))
    assert [message["content"] for message in parrot.asked[2]] == [GAME.instructions, "三"]


def test_a_turn_that_was_stopped_or_cut_is_not_remembered() -> None:
    conversation = talk.Talk(Parrot("は", "い"), GAME, Random(0))
    next(conversation.say("一"))
    assert len(conversation.messages) == 1
    cut = talk.Talk(Parrot("は", cut=True), GAME, Random(0))
    with pytest.raises(UnfinishedError):
        list(cut.say("一"))
    assert len(cut.messages) == 1


def test_a_poem_grows_and_never_shrinks() -> None:
    text = encode(Answer('題"と\\', "一。\n二。"))
    grown = [talk.readable(text[:end]) for end in range(len(text) + 1)]
    assert grown[-1] == '題"と\\\n\n一。\n二。'
    assert all(now.startswith(before) for before, now in pairwise(grown))
    assert talk.readable('{ "title" : "題",\n "poem" : "\\u3042\\u304') == "題\n\nあ"


def test_a_dealt_hand_is_shown_with_its_poem_and_the_verdict(embedded: Embedded) -> None:
    conversation = talk.Talk(embedded, GAME, Random(1))
    pieces = list(conversation.deal(7))
    hand, title, poem, verdict = "".join(pieces).split("\n\n")
    assert [line.count(" → ") for line in hand.split("\n")] == [1] * 5
    answer = json.loads(conversation.messages[-1]["content"])
    assert (answer["title"], answer["poem"]) == (title, poem)
    assert len(pieces) > 50
    assert verdict == "(keeps all rules)" or ": " in verdict
    again = "".join(talk.Talk(embedded, GAME, Random(1)).deal(7))
    assert again == "".join(pieces)


def test_a_broken_answer_is_told_of() -> None:
    assert "".join(talk.Talk(Parrot('{"title":"x"}'), GAME, Random(0)).deal(7)).endswith(
        "(the answer is not one object of title and poem)"
    )


def test_a_long_conversation_loses_its_oldest_turns(embedded: Embedded) -> None:
    messages = [{"role": "system", "content": "家"}]
    for n in range(40):
        messages += [{"role": "user", "content": f"{n}番" + "街" * 60}, {"role": "assistant", "content": "そう。" * 20}]
    kept = embedded.prompt([*messages, {"role": "user", "content": "今"}])
    assert "\n0番" not in kept
    assert "\n39番" in kept
    assert kept.count("家") == 1
    with pytest.raises(UnfinishedError, match=r"\d+ tokens and an answer do not fit serve\.num_ctx, 3072"):
        embedded.prompt([messages[0], {"role": "user", "content": "街" * 3000}])


def test_in_a_pipe_only_answers_are_written(chain: Chain, out: Path, recipe_file: Path) -> None:
    arguments = ["chat", "--recipe", str(recipe_file), "--out", str(out), "--engine", "embedded", "--seed", "1"]
    done = CliRunner().invoke(cli, arguments, input="/deal 7\n\n/reset\n/nonsense\n/quit\nnever read\n")
    assert done.exit_code == 0, done.output
    assert done.output.endswith(f"\n(forgotten)\n{talk.HELP}\n")
    assert done.output.count(" → ") == 5
    assert "> " not in done.output


def test_a_model_that_is_not_there_is_one_line(out: Path, recipe_file: Path, tmp_path: Path) -> None:
    missing = "quantize: dataset has to be made first (not made yet); `poem-build run` makes it"
    for arguments, told in (
        (["--engine", "embedded"], f"Error: {tmp_path}/gguf: {missing}\n"),
        (["--engine", "ollama"], "Error: OLLAMA_HOST http://127.0.0.1:9: no Ollama answers; start `ollama serve`\n"),
    ):
        options = ["--recipe", str(recipe_file), "--out", str(tmp_path), "--ollama", "127.0.0.1:9"]
        done = CliRunner().invoke(cli, ["chat", *options, *arguments], input="家\n")
        assert (done.exit_code, done.output) == (1, told)


def test_a_conversation_has_no_summary_to_give_as_json(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["chat", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 2
    assert "No such option" in done.output


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        # Tests that run in a shell's background are started without Ctrl-C, and would hand that on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen([*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.seen, self._at = "", 0

    def until(self, text: str) -> None:
        """Wait for the text behind what was waited for last."""
        while (found := self.seen.find(text, self._at)) < 0:
            assert self._more(120), self.seen
        self._at = found + len(text)

    def interrupt_the_prompt(self) -> None:
        """Ctrl-C, again where it fell between the prompt's output and readline's wait: no key, no answer then."""
        for _ in range(20):
            self.process.send_signal(signal.SIGINT)
            if self._more(5):
                return

    def _more(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], seconds)
        self.seen += os.read(self._master, 65536).decode(errors="replace") if ready else ""
        return bool(ready)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())


def test_on_a_terminal_ctrl_c_stops_an_answer_and_ctrl_d_leaves(chain: Chain, out: Path, recipe_file: Path) -> None:
    terminal = Terminal("--recipe", str(recipe_file), "--out", str(out))
    terminal.until("> ")
    terminal.type("/deal 7\n")
    terminal.until(" → ")
    terminal.process.send_signal(signal.SIGINT)
    terminal.until("(stopped; this turn is not remembered)")
    terminal.until("> ")
    terminal.interrupt_the_prompt()
    terminal.until("(/quit or Ctrl-D leaves)")
    terminal.until("> ")
    terminal.type("/deal 7\n")
    terminal.until("\n(")  # the verdict
    terminal.until("> ")
    terminal.type("\x04")
    assert terminal.process.wait(30) == 0
    assert "Traceback" not in terminal.seen


def test_a_real_ollama_streams_and_is_left_in_peace(chain: Chain, out: Path, recipe: Recipe, ollama: str) -> None:
    workshop = workshop_of(recipe, out, ollama)
    with pytest.raises(OllamaError, match=r"mansion-poem:nothing is not there; `poem-build register` makes it"):
        talk.engine_for(workshop, "mansion-poem:nothing", "ollama", ollama)
    pipeline.make(workshop, "register")
    engine = talk.engine_for(workshop, "mansion-poem:mini", "auto", ollama)
    assert engine.name == f"mansion-poem:mini at {ollama}"
    conversation = talk.Talk(engine, GAME, Random(1))
    pieces = list(conversation.deal(7))
    assert len(pieces) > 50
    assert len(conversation.messages) == 3
    stopped = engine.stream(Question(conversation.messages[:2], 1))
    assert isinstance(stopped, Generator)
    next(stopped)
    stopped.close()
    assert "".join(conversation.deal(8)).count(" → ") == 5
