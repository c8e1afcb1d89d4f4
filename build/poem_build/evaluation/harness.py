"""EleutherAI's lm-eval, where it is installed, and a model's folder or a server → how well the tasks went.

Any task of lm-eval's can be asked. Ours are made of the game and of `plain.txt`, and need no network: which of four
lines sells a reality (by likelihood, or by a letter from a server that shows no more), and bits a byte of plain text.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from pydantic import ValidationError

from poem.deck import Deck
from poem.game import Game
from poem_build.errors import HarnessError
from poem_build.evaluation.likelihood import PLAIN
from poem_build.judge.figures import Figures
from poem_build.store.folder import write_text

FOLDER = "lm-eval"
"""Beside the stages' folders."""
TASKS = Path(__file__).with_name("tasks")
BY_LIKELIHOOD, BY_TEXT = ("mansion_wording", "mansion_plain"), ("mansion_letter",)
_FILE, _LOG = "results.json", "lm-eval.log"
_LINES = 4
_CHAT = "/chat/completions"


class Tried(Figures):
    """One metric of one task."""

    task: str
    metric: str
    of: str
    """`merged`, `base`, or a server's model."""
    value: float
    error: float | None
    """The standard error, where lm-eval has one."""
    better: Literal["higher", "lower", ""]
    count: int
    """Of questions."""


class Tries(Figures):
    """All that was asked about one GGUF file's model."""

    version: str
    """Of lm-eval."""
    gguf: str
    """SHA-256."""
    found: list[Tried]


@dataclass(frozen=True)
class Subject:
    """Who is asked: a folder of weights, or a server's model whose words the folder's tokenizer counts."""

    name: str
    folder: Path
    device: str = "cpu"
    server: str = ""
    """The URL that is asked, `…/v1/completions` or `…/v1/chat/completions`; empty where the weights are loaded here."""

    @property
    def chats(self) -> bool:
        """Whether it shows text and no likelihoods."""
        return self.server.rstrip("/").endswith(_CHAT)

    def options(self) -> list[str]:
        """What lm-eval is told of it."""
        if not self.server:
            kind = {"pretrained": str(self.folder), "dtype": "float32" if self.device == "cpu" else "auto"}
            return ["--model", "hf", "--device", self.device, "--model_args", json.dumps(kind)]
        told = {"model": self.name, "base_url": self.server, "tokenizer": str(self.folder), "max_retries": 2}
        if self.chats:
            return ["--model", "local-chat-completions", "--apply_chat_template", "--model_args", json.dumps(told)]
        told |= {"tokenized_requests": False}
        return ["--model", "local-completions", "--model_args", json.dumps(told)]


@dataclass(frozen=True)
class Wish:
    """Which tasks; our own of that kind where none are named."""

    tasks: tuple[str, ...] = ()
    include: Path = TASKS
    limit: int | None = None
    """Questions a task."""


def run(subjects: Sequence[Subject], wish: Wish, game: Game, room: Path, gguf: str) -> Tries:
    """Ask them all, and keep what was found with what had been found of this model before."""
    write_questions(room, game)
    former = read(room, gguf)
    found = {(one.of, one.task, one.metric): one for one in (former.found if former else ())}
    version = ""
    for subject in subjects:
        version, tried = ask(subject, wish, room)
        found |= {(one.of, one.task, one.metric): one for one in tried}
    tries = Tries(version=version, gguf=gguf, found=list(found.values()))
    write_text(room / _FILE, tries.model_dump_json(indent=1) + "\n")
    return tries


def ask(subject: Subject, wish: Wish, room: Path) -> tuple[str, list[Tried]]:
    """lm-eval's version and what it found. Raises `HarnessError` where it is not installed, or ends in an error."""
    tasks = wish.tasks or (BY_TEXT if subject.chats else BY_LIKELIHOOD)
    answers, log = room / "raw", room / _LOG
    shutil.rmtree(answers, ignore_errors=True)
    command = [*_program(), "run", *subject.options(), "--tasks", ",".join(tasks)]
    command += ["--include_path", str(wish.include), "--batch_size", "1", "--output_path", str(answers)]
    command += [] if wish.limit is None else ["--limit", str(wish.limit)]
    with log.open("wb") as file:
        done = subprocess.run(command, cwd=room, stdout=file, stderr=file, check=False)
    paths = sorted(answers.rglob("results_*.json"))
    if done.returncode or not paths:
        last = (log.read_text("utf-8", "replace").strip().splitlines() or [""])[-1].strip()
        raise HarnessError(f"{log}: lm-eval ended with {done.returncode}: {last}")
    told = json.loads(paths[-1].read_text("utf-8"))
    return str(told.get("lm_eval_version", "")), list(_found(told, subject.name))


def write_questions(room: Path, game: Game) -> None:
    """Write the questions of our own tasks where lm-eval looks for them."""
    room.mkdir(parents=True, exist_ok=True)
    _write_lines(room / "wording.jsonl", _questions(game.deck))
    _write_lines(room / "plain.jsonl", ({"text": line} for line in PLAIN.read_text("utf-8").splitlines()))


def read(room: Path, gguf: str) -> Tries | None:
    """What was found of this model, if anything."""
    try:
        tries = Tries.model_validate_json((room / _FILE).read_text("utf-8"))
    except (OSError, ValidationError):
        return None
    return tries if tries.gguf == gguf else None


def _program() -> list[str]:
    if found := shutil.which("lm-eval") or shutil.which("lm_eval"):
        return [found]
    if importlib.util.find_spec("lm_eval"):
        return [sys.executable, "-m", "lm_eval"]
    raise HarnessError("lm-eval: not installed; `pip install 'lm-eval[hf,api]'` here or in an environment on PATH")


def _found(told: Mapping[str, Any], of: str) -> Iterator[Tried]:
    """lm-eval writes `acc,none` and `acc_stderr,none`, the filter behind the comma."""
    for task, values in told["results"].items():
        for key, value in values.items():
            metric, comma, kept = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{kept}")
            higher = told.get("higher_is_better", {}).get(task, {}).get(metric)
            yield Tried(
                task=task,
                metric=metric if kept == "none" else f"{metric} ({kept})",
                of=of,
                value=value,
                error=error if isinstance(error, int | float) else None,
                better="" if higher is None else "higher" if higher else "lower",
                count=told.get("n-samples", {}).get(task, {}).get("effective", 0),
            )


def _questions(deck: Deck) -> Iterator[dict[str, Any]]:
    """Each card with a line of its own among those of cards of other categories."""
    rng = Random("which line sells it")
    for card in deck.cards:
        others = rng.sample([one for one in deck.cards if one.category != card.category], _LINES - 1)
        right = rng.choice(card.poems).poem_text
        lines = [right, *(rng.choice(one.poems).poem_text for one in others)]
        rng.shuffle(lines)
        yield {"reality": card.condition_text, "lines": lines, "right": lines.index(right)}


def _write_lines(path: Path, rows: Iterator[Mapping[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
