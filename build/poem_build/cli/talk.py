"""A finished model and a terminal → a conversation: what is typed and what is dealt, answered piece by piece.

Works in a pipe too: a line of standard input is a turn, and only the answers are written.
"""

import codecs
import contextlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

import click

from poem.deck import builtin_deck
from poem.hand import deal, draw_candidates
from poem.prompt import pair_line, render_prompt, system_text
from poem.rules import check
from poem.shape import answer_grammar, answer_schema, decode
from poem_build.engine.llama import Llama
from poem_build.errors import OllamaError, UnfinishedError
from poem_build.export.quantize import FILE as GGUF_FILE
from poem_build.models.chat import render_chat
from poem_build.recipe.schema import Recipe
from poem_build.ship import register
from poem_build.store import artifact

HELP = """/deal [SEED]  deal a hand and write its poem    /reset  forget what was said
/help         this                              /quit   leave; Ctrl-D too. Ctrl-C stops an answer."""
Messages = list[dict[str, str]]
_TEXT = r'\s*:\s*"((?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*)'


class Engine(Protocol):
    """Whatever writes the next turn."""

    name: str

    def write(self, messages: Messages, titles: Sequence[str] | None, seed: int) -> Iterator[str]:
        """The answer piece by piece, in the answer's shape if there are titles to choose from.

        Raises `UnfinishedError` after the last piece if the answer was cut.
        """


class Embedded:
    """The GGUF in this process; a conversation that outgrows the context loses its oldest turns."""

    def __init__(self, recipe: Recipe, gguf: Path) -> None:
        self.name = str(gguf)
        self._recipe = recipe
        self._llama = Llama(gguf, recipe.serve.num_ctx)

    def write(self, messages: Messages, titles: Sequence[str] | None, seed: int) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        grammar = answer_grammar(titles) if titles else None
        for piece in self._llama.pieces(self._fitting(messages), self._recipe.serve, seed, grammar):
            if text := decoder.decode(piece):
                yield text

    def _fitting(self, messages: Messages) -> str:
        serve, first = self._recipe.serve, 1
        while True:
            prompt = render_chat(self._recipe.base.family, messages[:1] + messages[first:], answer_follows=True)
            count = len(self._llama.tokenize(prompt))
            if count + serve.num_predict <= serve.num_ctx:
                return prompt
            if first + 2 >= len(messages):
                raise UnfinishedError(f"{count} tokens and an answer do not fit serve.num_ctx, {serve.num_ctx}")
            first += 2


class Ollama:
    """The model of an Ollama server, which drops the oldest turns itself."""

    def __init__(self, host: str, model: str) -> None:
        self.name = f"{model} at {host}"
        self._host, self._model = host, model

    def write(self, messages: Messages, titles: Sequence[str] | None, seed: int) -> Iterator[str]:
        import httpx

        body: dict[str, Any] = {"model": self._model, "messages": messages, "options": {"seed": seed}, "think": False}
        if titles:
            body["format"] = answer_schema(titles)
        last: dict[str, Any] = {}
        try:
            with httpx.stream("POST", f"{self._host}/api/chat", json=body, timeout=600) as reply:
                for line in reply.iter_lines():
                    last = json.loads(line)
                    if "error" in last:
                        raise OllamaError(f"OLLAMA_HOST {self._host}: {last['error']}")
                    yield last["message"]["content"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise OllamaError(f"OLLAMA_HOST {self._host}: {error or type(error).__name__}") from error
        if not last.get("done"):
            raise UnfinishedError("Ollama dropped the answer; it does so after 30 equal pieces")
        if last.get("done_reason") != "stop":
            raise UnfinishedError(f"cut by {last.get('done_reason')}; serve.num_predict is what an answer may have")


class Talk:
    """A conversation with its history."""

    def __init__(self, engine: Engine, rng: Random) -> None:
        self._engine, self._rng = engine, rng
        self.messages: Messages = []
        self.reset()

    def reset(self) -> None:
        self.messages = [{"role": "system", "content": system_text()}]

    def say(self, text: str) -> Iterator[str]:
        """The answer to a turn, as it grows."""
        yield from self._turn(text, None)

    def deal(self, seed: int | None = None) -> Iterator[str]:
        """A dealt hand, then its title and poem as they grow, then what the rules say of them."""
        rng = self._rng if seed is None else Random(seed)
        hand, titles = deal(builtin_deck(), rng), draw_candidates(builtin_deck(), rng)
        yield "\n".join(map(pair_line, hand.pairs)) + "\n\n"
        text, shown = "", ""
        for piece in self._turn(render_prompt(hand, titles).user, titles):
            text += piece
            grown = readable(text)
            yield grown[len(shown) :]
            shown = grown
        try:
            broken = check(decode(text), hand, titles)
        except ValueError as error:
            yield f"\n\n({error})"
        else:
            yield "\n\n(" + ("; ".join(map(str, broken)) or "keeps all rules") + ")"

    def _turn(self, text: str, titles: Sequence[str] | None) -> Iterator[str]:
        """Only a turn that was answered to its end is remembered."""
        asked = [*self.messages, {"role": "user", "content": text}]
        answer = ""
        for piece in self._engine.write(asked, titles, self._rng.getrandbits(31)):
            answer += piece
            yield piece
        self.messages = [*asked, {"role": "assistant", "content": answer}]


def readable(text: str) -> str:
    """Title and poem as far as an unfinished answer's JSON has them."""
    found = (re.search(f'"{name}"{_TEXT}', text) for name in ("title", "poem"))
    return "\n\n".join(json.loads(f'"{one.group(1)}"', strict=False) for one in found if one)


def converse(talk: Talk, name: str) -> None:
    """Read turns from standard input until it ends, and answer each on standard output."""
    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - `input` then edits lines and remembers them
        click.echo(f"{name}\n{HELP}")
    while (line := _read(terminal)) is not None:
        if line.strip() in {"/quit", "/exit"}:
            return
        if line.strip():
            _answer(talk, line.strip())


def _read(terminal: bool) -> str | None:
    """The next line, or None at the end; Ctrl-C throws away the one that was begun."""
    while True:
        try:
            return input("\n> " if terminal else "")
        except EOFError:
            if terminal:
                click.echo()
            return None
        except KeyboardInterrupt:
            if not terminal:
                raise
            click.echo("\n(/quit or Ctrl-D leaves)")


def _answer(talk: Talk, line: str) -> None:
    command, _, rest = line.partition(" ")
    try:
        if command == "/reset":
            talk.reset()
            click.echo("(forgotten)")
        elif command == "/deal" and (not rest or rest.strip().isdecimal()):
            _show(talk.deal(int(rest) if rest else None))
        elif command.startswith("/"):
            click.echo(HELP)
        else:
            _show(talk.say(line))
    except UnfinishedError as error:
        click.echo(f"\n({error})")
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
        click.echo("\n(stopped; this turn is not remembered)")


def _show(pieces: Iterator[str]) -> None:
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()


def engine_for(recipe: Recipe, out: Path, kind: str, host: str) -> Engine:
    """The engine of that kind; `auto` is Ollama where one answers that has the model, else the GGUF itself.

    Raises `OllamaError` if Ollama is asked for and has no such model.
    """
    there = kind != "embedded" and register.server_version(host) is not None
    if there and recipe.ollama_model in register.digests(host):
        return Ollama(host, recipe.ollama_model)
    if kind == "ollama":
        missing = f"{recipe.ollama_model} is not there; `poem-build register` makes it"
        told = missing if there else "no Ollama answers; start `ollama serve`"
        raise OllamaError(f"OLLAMA_HOST {host}: {told}")
    return Embedded(recipe, artifact.load(out, "gguf").path / GGUF_FILE)
