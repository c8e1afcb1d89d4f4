"""Held-out hands → a page of poems, the composer's and the model's, for anyone to read and judge."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from random import Random

from poem.composer import compose
from poem.game import Game
from poem.hand import Answer, Hand, draw_candidates
from poem_build.data.examples import Example
from poem_build.data.hands import hands
from poem_build.engine.protocol import Reply
from poem_build.judge.rules import read_answer
from poem_build.store.folder import write_text

_COMPOSED = 50
MODEL = 20
"""Poems of the model that a page shows."""


def write(
    name: str, command: str, game: Game, examples: Sequence[Example], replies: Sequence[Reply], target: Path
) -> dict[str, int]:
    """Write 50 composed poems and the model's answers to the examples' hands, nothing picked, nothing mended."""
    rng = Random("samples")
    lines = [
        "# 詩の見本",
        "",
        f"`{command}` がつくる頁。配られた手をそのまま載せ、選ばず、直さない。",
        "",
        f"## composer({_COMPOSED}篇)",
    ]
    for n, hand in enumerate(islice(hands(game.deck, "test", rng), _COMPOSED), 1):
        answer = compose(game, hand, draw_candidates(game.deck, rng), n).answer
        lines += _poem(n, hand, answer, "")
    lines += ["", f"## {name}({len(examples)}篇、形だけを縛った答え)"]
    for n, (reply, example) in enumerate(zip(replies, examples, strict=True), 1):
        lines += _poem(n, example.hand, *read_answer(reply.whole, example))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, "\n".join(lines) + "\n")
    return {"composed": _COMPOSED, "model": len(examples)}


def _poem(n: int, hand: Hand, answer: Answer, note: str) -> list[str]:
    cards = " / ".join(f"{pair.card.condition_text} → {pair.wording.poem_text}" for pair in hand.pairs)
    body = [f"> {line}  " for line in answer.poem.split("\n")]
    return ["", f"### {n}. {answer.title}", "", cards, "", *body, *(["", note] if note else [])]
