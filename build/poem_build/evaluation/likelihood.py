"""The base and the merged model → what each holds likely: poems by hand, plain Japanese, and a poem under other cards.

Forgetting is how much less likely plain sentences about everyday things have become by the training; they were written
for this and stand in no poem (`plain.txt`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from poem.game import Game
from poem_build.data.examples import Example
from poem_build.data.hands import hands
from poem_build.models.device import PLAINLY, Asked
from poem_build.models.family import Family
from poem_build.models.likelihood import answer_losses
from poem_build.models.load import load_model, load_tokenizer
from poem_build.models.tokens import Tokens
from poem_build.progress import progress

PLAIN = Path(__file__).with_name("plain.txt")


@dataclass
class Likely:
    """What a model said: negative log-likelihoods in nats, text by text, and how many tokens each has."""

    plain: list[float] = field(default_factory=list)
    plain_tokens: list[float] = field(default_factory=list)
    by_hand: list[float] = field(default_factory=list)
    by_hand_tokens: list[float] = field(default_factory=list)
    swapped: list[float] = field(default_factory=list)
    """By how much each right poem is less likely under another hand's cards."""


def ask(
    folder: Path,
    talk: Family,
    game: Game,
    examples: Sequence[Example],
    by_hand: Sequence[Example],
    how: Asked = PLAINLY,
) -> Likely:
    """What the folder's model says: of right poems under other cards, of poems by hand, and of plain Japanese.

    Of a poem in two stages it is the outline that stands under cards, and the poem under its outline.
    """
    import torch

    model, tokenizer = load_model(folder, how.dtype, how.device).eval(), load_tokenizer(folder)
    found = Likely()
    with torch.inference_mode():
        strangers = hands(game.deck, "test", Random("other hands"))
        for example, hand in zip(
            progress(examples, "under other cards"), islice(strangers, len(examples)), strict=True
        ):
            other = replace(example, hand=hand)
            pair = [talk.tokens(tokenizer, one.chats(game)[0]) for one in (example, other)]
            right, wrong = answer_losses(model, pair)[0].sum(dim=1).tolist()
            found.swapped.append(wrong - right)
        for example in progress(by_hand, "poems by hand"):
            _add(model, talk.tokens(tokenizer, example.chats(game)[-1]), found.by_hand, found.by_hand_tokens)
        for text in PLAIN.read_text("utf-8").splitlines():
            ids = tokenizer.encode(text, add_special_tokens=True)
            _add(model, Tokens(tuple(ids[:1]), tuple(ids[1:])), found.plain, found.plain_tokens)
    return found


def _add(model: Any, tokens: Tokens, losses: list[float], counts: list[float]) -> None:
    losses.append(float(answer_losses(model, [tokens])[0].sum()))
    counts.append(float(len(tokens.answer)))
