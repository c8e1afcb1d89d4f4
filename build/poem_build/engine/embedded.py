"""A GGUF file in this process, or in one of its own → replies."""

import codecs
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from poem_build.engine.llama import Llama
from poem_build.engine.protocol import Engine, Question, Reply
from poem_build.errors import ModelFileError, UnfinishedError
from poem_build.models.family import Family, Messages
from poem_build.recipe.schema import Serve

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor


class Embedded:
    """llama.cpp in this process; a conversation that outgrows the context loses its oldest turns."""

    def __init__(self, gguf: Path, family: Family, serve: Serve) -> None:
        self.name = str(gguf)
        self._family, self._serve = family, serve
        self._llama = Llama(gguf, serve.num_ctx)

    def ask(self, question: Question) -> Reply:
        """The reply; `length` if it has not ended after `num_predict` tokens."""
        start = time.monotonic()
        prompt, tokens, ended, first = self.prompt(question.messages), 0, "stop", start
        found = bytearray()
        try:
            for piece in self._pieces(prompt, question):
                first = first if tokens else time.monotonic()
                found += piece
                tokens += 1
        except UnfinishedError:
            ended = "length"
        end = time.monotonic()
        return Reply(
            text=found.decode(errors="replace"),
            ended=ended,
            seconds=end - start,
            prompt_tokens=len(self._llama.tokenize(prompt)),
            prompt_s=first - start,
            tokens=tokens,
            tokens_s=end - first,
        )

    def stream(self, question: Question) -> Iterator[str]:
        """The answer piece by piece. Raises `UnfinishedError` if it was cut."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for piece in self._pieces(self.prompt(question.messages), question):
            if text := decoder.decode(piece):
                yield text

    def _pieces(self, prompt: str, question: Question) -> Iterator[bytes]:
        serve = self._serve.model_copy(update=dict(question.sampling))
        return self._llama.pieces(prompt, serve, question.seed, question.grammar)

    def prompt(self, messages: Messages) -> str:
        """What the model is given, without the oldest turns that do not fit. Raises `UnfinishedError` if none does."""
        serve, first = self._serve, 1
        while True:
            prompt = self._family.render(messages[:1] + messages[first:], answer_follows=True)
            count = len(self._llama.tokenize(prompt))
            if count + serve.num_predict <= serve.num_ctx:
                return prompt
            if first + 2 >= len(messages):
                raise UnfinishedError(f"{count} tokens and an answer do not fit serve.num_ctx, {serve.num_ctx}")
            first += 2


@cache
def _loaded(gguf: Path, family: Family, serve: Serve) -> Embedded:
    return Embedded(gguf, family, serve)


def _ask(gguf: Path, family: Family, serve: Serve, question: Question) -> Reply:
    return _loaded(gguf, family, serve).ask(question)


@dataclass(frozen=True)
class _Apart:
    gguf: Path
    family: Family
    serve: Serve
    pool: "ProcessPoolExecutor"

    @property
    def name(self) -> str:
        return str(self.gguf)

    def ask(self, question: Question) -> Reply:
        from concurrent.futures.process import BrokenProcessPool

        try:
            return self.pool.submit(_ask, self.gguf, self.family, self.serve, question).result()
        except BrokenProcessPool as error:
            raise ModelFileError(
                f"{self.gguf}: llama.cpp died while generating; a vocabulary that cannot spell the answer, or no memory"
            ) from error


@contextmanager
def apart(gguf: Path, family: Family, serve: Serve) -> Iterator[Engine]:
    """The same in a process of its own: a grammar's dead end ends in `abort()`, which is then one line of error."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield _Apart(gguf, family, serve, pool)
