"""The built-in game → plain text that a small base learns to speak from.

It holds no prompt, no JSON and none of the held-out hands, so whatever an adapter is later seen to do about prompts
and answers it has learnt itself. A base serves every game, so it speaks of the one that everybody has.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from random import Random
from typing import NamedTuple

from poem.game import builtin_game
from poem.hand import PAIRS, Pair, draw_candidates
from poem.prompt import pair_line
from poem.sentences import Sentences
from poem.store import store
from poem_build.data.hands import hands
from poem_build.recipe.schema import Phase
from poem_build.teacher.composer import Composer

# How many catch-copies stand between wordings and poem: from none to speak of to as far as the prompt has them.
_TITLES = (1, 5, 20)


class Text(NamedTuple):
    """Plain text of which only the second part is learnt: to say it, after what was shown."""

    shown: str
    said: str


def corpus(phase: Phase, seed: int) -> Iterator[Text]:
    """The phase's plain texts, endless variations of three kinds; hands are training hands only.

    `poems`: the deck's word list, then poems under their titles, from our own sentences and from those for any game in
    turn, nothing shown. `wordings`: one or two wordings,
    then a sentence for each. `lists`: up to five wordings and some catch-copies, then as many sentences in any
    order, or all five, then a title out of those and the poem. What is shown is not learnt: it is drawn at random,
    and its noise would hide the little that it tells about what follows (docs/log.md).
    """
    rng = Random(f"corpus {seed}")
    texts = {"poems": _poems, "wordings": _wordings, "lists": _lists}[phase.text](rng)
    return islice(texts, phase.documents)


def vocabulary() -> list[str]:
    """Every sentence once, the instructions, catch-copies and pairs: what a tokenizer learns from.

    Not the poems, where the same sentences come by the hundred and would each become a token while rare kanji stayed
    three.
    """
    game = builtin_game()
    texts = [game.instructions, *game.deck.catchphrases]
    texts += [sentence.text for sentence in (*game.sentences.all(), *store().all())]
    return texts + [pair_line(Pair(card, wording)) for card in game.deck.cards for wording in card.poems]


def _poems(rng: Random) -> Iterator[Text]:
    game = builtin_game()
    spoken = _spoken()
    for card in game.deck.cards:
        for wording in card.poems:
            said = "".join(spoken.get(wording.id, ()))
            yield Text("", f"{card.category}。{card.condition_text}。{wording.poem_text.rstrip('。')}。{said}")
    for hand, composer in zip(hands(game.deck, "train", rng), _composers(), strict=False):
        if answer := composer.write(hand, draw_candidates(game.deck, rng), rng.getrandbits(32)):
            yield Text("", f"{answer.title}\n{answer.poem}")


def _wordings(rng: Random) -> Iterator[Text]:
    spoken = _spoken()
    for hand in hands(builtin_game().deck, "train", rng):
        pairs = [pair for pair in hand.pairs if pair.wording.id in spoken]
        if pairs := rng.sample(pairs, min(len(pairs), rng.randint(1, 2))):
            yield Text(_listed(pairs), _sentences(pairs, spoken, rng))


def _lists(rng: Random) -> Iterator[Text]:
    game, spoken = builtin_game(), _spoken()
    for hand, composer in zip(hands(game.deck, "train", rng), _composers(), strict=False):
        titles = rng.sample(game.deck.catchphrases, rng.choice(_TITLES))
        poem = rng.random() < 0.5
        pairs = rng.sample(hand.pairs, PAIRS if poem else rng.randint(1, PAIRS))
        shown = _listed(pairs) + "".join(f"{title}\n" for title in titles)
        if not poem:
            yield Text(shown, _sentences(pairs, spoken, rng))
        elif answer := composer.write(hand, titles, rng.getrandbits(32)):
            yield Text(shown, f"{answer.title}\n{answer.poem}")


def _composers() -> Iterator[Composer]:
    """In turn one that has our own sentences, and one that has those for any game alone: the base serves them all."""
    game = builtin_game()
    return cycle([Composer(game), Composer(replace(game, sentences=Sentences(), values={}))])


def _spoken() -> dict[str, list[str]]:
    """The sentences that were written for each wording, on whatever thread."""
    return {
        wording: [sentence.text for sentences in voices.values() for sentence in sentences]
        for wording, voices in builtin_game().sentences.wordings.items()
    }


def _listed(pairs: Sequence[Pair]) -> str:
    return "".join(f"{pair.card.condition_text}、{pair.wording.poem_text.rstrip('。')}。\n" for pair in pairs)


def _sentences(pairs: Sequence[Pair], spoken: Mapping[str, Sequence[str]], rng: Random) -> str:
    """A sentence for each wording that has any, in whatever order."""
    told = [rng.choice(spoken[pair.wording.id]) for pair in pairs if spoken.get(pair.wording.id)]
    return "".join(rng.sample(told, len(told)))
