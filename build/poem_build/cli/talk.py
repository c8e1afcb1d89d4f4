"""A finished model and a terminal → a conversation: what is typed and what is dealt, answered piece by piece.

Works in a pipe too: a line of standard input is a turn, and only the answers are written.
"""

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

import click

from poem.game import Game
from poem.hand import Hand, deal, draw_candidates
from poem.outline import Stages, decode_outline
from poem.prompt import pair_line, render_outline_prompt, render_outlined_prompt, render_prompt
from poem.rules import check
from poem.shape import decode
from poem_build.engine.embedded import Embedded
from poem_build.engine.ollama import Ollama, digests, server_version
from poem_build.engine.protocol import Question, Streaming
from poem_build.errors import OllamaError, UnfinishedError
from poem_build.models.family import Messages, family
from poem_build.models.files import SERVED
from poem_build.store.workshop import Workshop

HELP = """/deal [SEED]  deal a hand and write its poem    /reset  forget what was said
/help         this                              /quit   leave; Ctrl-D too. Ctrl-C stops an answer."""
_TEXT = r'\s*:\s*"((?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*)'


class Talk:
    """A conversation with its history."""

    def __init__(self, engine: Streaming, game: Game, rng: Random, stages: Stages = 1) -> None:
        self._engine, self._game, self._rng, self._stages = engine, game, rng, stages
        self.messages: Messages = []
        self.reset()

    def reset(self) -> None:
        self.messages = [{"role": "system", "content": self._game.instructions}]

    def say(self, text: str) -> Iterator[str]:
        """The answer to a turn, as it grows."""
        yield from self._turn(text, ())

    def deal(self, seed: int | None = None) -> Iterator[str]:
        """A dealt hand, then its title and poem as they grow, then what the rules say of them."""
        rng = self._rng if seed is None else Random(seed)
        hand, titles = deal(self._game.deck, rng), draw_candidates(self._game.deck, rng)
        yield "\n".join(map(pair_line, hand.pairs)) + "\n\n"
        text, shown = "", ""
        for piece in self._poem(hand, titles):
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

    def _poem(self, hand: Hand, titles: Sequence[str]) -> Iterator[str]:
        """The poem's JSON as it grows; one that is written in two stages is no part of the conversation."""
        if self._stages == 1:
            yield from self._turn(render_prompt(self._game.instructions, hand, titles).user, titles)
            return
        messages = render_outline_prompt(self._game.instructions, hand, titles).messages()
        asked = Question(messages, self._rng.getrandbits(31), tuple(titles), outline=True)
        try:
            outline = decode_outline("".join(self._engine.stream(asked)))
        except ValueError as error:
            raise UnfinishedError(str(error)) from error
        messages = render_outlined_prompt(self._game.instructions, outline).messages()
        yield from self._engine.stream(replace(asked, messages=messages, titles=(outline.title,), outline=False))

    def _turn(self, text: str, titles: Sequence[str]) -> Iterator[str]:
        """Only a turn that was answered to its end is remembered."""
        asked = [*self.messages, {"role": "user", "content": text}]
        answer = ""
        for piece in self._engine.stream(Question(asked, self._rng.getrandbits(31), tuple(titles))):
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


def engine_for(workshop: Workshop, model: str, kind: str, host: str) -> Streaming:
    """The engine of that kind; `auto` is Ollama where one answers that has the model, else the GGUF itself.

    Raises `OllamaError` if Ollama is asked for and has no such model.
    """
    there = kind != "embedded" and server_version(host) is not None
    if there and model in digests(host):
        return Ollama(host, model)
    if kind == "ollama":
        missing = f"{model} is not there; `poem-build register` makes it"
        told = missing if there else "no Ollama answers; start `ollama serve`"
        raise OllamaError(f"OLLAMA_HOST {host}: {told}")
    recipe = workshop.recipe
    return Embedded(workshop.load("gguf").path / SERVED, family(recipe.base.family), recipe.serve)
