"""A deck and quotas → hands worth teaching, without an end, the first of them the same however many are taken.

Each hand is the best of some that the game may deal: of the kind that is most behind its quota, and of the cards,
wordings and strengths that are. The splits get theirs in a fixed order out of one tally. So a larger set begins with
the smaller one, whose answers it takes over.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from typing import Any, Literal, get_args

from poem.deck import CANDIDATES, Card, Deck
from poem.hand import PAIRS, Hand, Pair, deal_cards
from poem.pattern import pattern_key
from poem_build.data.groups import GROUPS, Group
from poem_build.data.hands import EXHAUSTED, Split, every_hand, no_hand, possible_hands, split_of
from poem_build.errors import DatasetError
from poem_build.recipe.teaching import Quotas
from poem_build.teacher.protocol import Play

Kind = Literal["concentrated", "balanced", "extreme"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Grade = Literal["mild", "middling", "severe"]
GRADES: tuple[Grade, ...] = get_args(Grade)

_CONCENTRATED = 3
"""Cards of one group."""
_EXTREME = 2
"""Cards of strength -4 and worse."""
_CHOICE = 24
"""Hands of the split of which the best is taken."""
# What counts how much when hands of one kind are compared.
_GRADE, _GROUP, _SEEN = 1.0, 1.0, 0.4
_RARE = 0.9
"""How often a card's wording is one of those that have come least; or a deck of few hands would run out of new ones."""
_TOO_SELDOM = 1.0
"""What a wording is worth that has come less often than each must."""


def kind_of(hand: Hand, groups: Mapping[str, Group]) -> Kind:
    """What sort of hand it is, by its groups and strengths."""
    if max(Counter(groups[pair.card.category] for pair in hand.pairs).values()) >= _CONCENTRATED:
        return "concentrated"
    grades = Counter(grade_of(pair.card) for pair in hand.pairs)
    return "extreme" if grades["severe"] >= _EXTREME or grades[None] == PAIRS else "balanced"


def grade_of(card: Card) -> Grade | None:
    """How bad a drawback is; None for what is none."""
    if card.strength >= 0:
        return None
    return "mild" if card.strength >= -2 else "middling" if card.strength == -3 else "severe"


@dataclass
class Tally:
    """What the hands so far hold."""

    hands: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    grades: Counter[Grade] = field(default_factory=Counter)
    groups: Counter[Group] = field(default_factory=Counter)
    cards: Counter[str] = field(default_factory=Counter)
    wordings: Counter[str] = field(default_factory=Counter)
    titles: Counter[str] = field(default_factory=Counter)

    def add(self, hand: Hand, groups: Mapping[str, Group], titles: Sequence[str] = ()) -> None:
        """Count a hand and its title candidates."""
        self.hands += 1
        self.kinds[kind_of(hand, groups)] += 1
        for pair in hand.pairs:
            if grade := grade_of(pair.card):
                self.grades[grade] += 1
            self.groups[groups[pair.card.category]] += 1
            self.cards[pair.card.id] += 1
            self.wordings[pair.wording.id] += 1
        self.titles.update(titles)


_TRAIN: Split = "train"
ROUND: tuple[Split, ...] = (*[_TRAIN] * 8, "valid", "test")
"""In which order the splits get their hands, whatever becomes of these."""


class Sampler:
    """Hands for the splits of a deck, or of any split where that is None, balanced by the quotas all together."""

    def __init__(
        self,
        deck: Deck,
        groups: Mapping[str, Group],
        quotas: Quotas,
        seed: int,
        turns: Sequence[Split | None] = ROUND,
    ) -> None:
        self._deck, self._groups, self._quotas = deck, groups, quotas
        self._rng = Random(f"sampler {seed}")
        self._bag: list[str] = []
        self._tally, self._seen = Tally(), set[str]()
        self._turns = cycle(turns)
        self._dealt: dict[Split | None, deque[Play]] = {split: deque() for split in turns}
        self._spent: set[Split | None] = set()
        self._few: dict[Split | None, dict[str, Hand]] = {}
        """Every hand of a deck that has few."""
        if possible_hands(deck) <= EXHAUSTED:
            self._few = {split: {} for split in turns}
            for hand in every_hand(deck):
                self._few[None if None in turns else split_of(hand)][pattern_key(hand)] = hand

    def plays(self, split: Split | None = None) -> Iterator[Play]:
        """The split's hands with their title candidates, none twice. Raises `DatasetError` if there is none."""
        dealt, none = self._dealt[split], True
        while True:
            while not dealt and split not in self._spent:
                self._deal_next(next(self._turns))
            if not dealt:
                break
            none = False
            yield dealt.popleft()
        if none:
            raise no_hand(split)

    def _deal_next(self, split: Split | None) -> None:
        """One hand more for the split, the best of a choice; or the split is spent."""
        choice = {} if split in self._spent else self._choice(split)
        if not choice:
            self._spent.add(split)
            return
        key, hand = max(choice.items(), key=lambda one: (self._behind(one[1]), self._worth(one[1])))
        self._seen.add(key)
        titles = self._titles()
        self._tally.add(hand, self._groups, titles)
        self._dealt[split].append(Play(hand, titles))

    def _choice(self, split: Split | None) -> dict[str, Hand]:
        """Some new hands of the split by their keys; none when it has no more."""
        if self._few:
            new = [(key, hand) for key, hand in self._few[split].items() if key not in self._seen]
            some = self._rng.sample(new, min(_CHOICE, len(new)))
            return {key: Hand(tuple(self._rng.sample(hand.pairs, PAIRS))) for key, hand in some}
        found: dict[str, Hand] = {}
        idle, short = 0, self._short()
        while len(found) < _CHOICE and idle < EXHAUSTED:
            hand = self._deal(short)
            key = pattern_key(hand)
            if key in self._seen or key in found or (split and split_of(hand) != split):
                idle += 1
            else:
                found[key], idle = hand, 0
        return found

    def _deal(self, short: Mapping[str, Sequence[Card]]) -> Hand:
        """Cards as the game may deal them, those that are short first; of each a wording of the least seen, mostly."""
        tally, pairs = self._tally, []
        for card in _cards_of(self._deck, short, self._rng) if short else deal_cards(self._deck, self._rng):
            least = min(tally.wordings[wording.id] for wording in card.poems)
            rare = [wording for wording in card.poems if tally.wordings[wording.id] == least]
            pairs.append(Pair(card, self._rng.choice(rare if self._rng.random() < _RARE else card.poems)))
        return Hand(tuple(pairs))

    def _short(self) -> dict[str, list[Card]]:
        """By category the cards of which a wording has come less often than each must; once for each such wording."""
        found = {
            name: [card for card in cards for one in card.poems if self._tally.wordings[one.id] < self._quotas.least]
            for name, cards in self._deck.categories.items()
        }
        return found if any(found.values()) else {}

    def _behind(self, hand: Hand) -> float:
        """By how much the hand's kind is behind its quota."""
        kind = kind_of(hand, self._groups)
        return float(getattr(self._quotas, kind)) - self._tally.kinds[kind] / (self._tally.hands + 1)

    def _worth(self, hand: Hand) -> float:
        """By how much the hand brings cards and strengths nearer to their quotas."""
        quotas, tally, worth = self._quotas, self._tally, 0.0
        drawbacks, cards = max(1, tally.grades.total()), max(1, tally.groups.total())
        for pair in hand.pairs:
            if grade := grade_of(pair.card):
                worth += _GRADE * (getattr(quotas, grade) - tally.grades[grade] / drawbacks)
            group = self._groups[pair.card.category]
            worth += _GROUP * (quotas.group - tally.groups[group] / cards)
            seen = tally.wordings[pair.wording.id]
            worth += _SEEN / (1 + tally.cards[pair.card.id]) + _SEEN / (1 + seen)
            worth += _TOO_SELDOM * (seen < quotas.least)
        return worth

    def _titles(self) -> tuple[str, ...]:
        """Twenty catch-copies out of a bag that is filled when it is empty, so that all come equally often."""
        drawn: list[str] = []
        while len(drawn) < CANDIDATES:
            if not self._bag:
                self._bag = self._rng.sample(self._deck.catchphrases, len(self._deck.catchphrases))
            if (title := self._bag.pop()) not in drawn:
                drawn.append(title)
        return tuple(self._rng.sample(drawn, CANDIDATES))


def _cards_of(deck: Deck, short: Mapping[str, Sequence[Card]], rng: Random) -> list[Card]:
    """Five cards of five categories, drawn the likelier the more cards of theirs are short."""
    order = sorted(deck.categories, key=lambda name: rng.random() ** (1 / (1 + len(short[name]))), reverse=True)
    return [rng.choice(short[name] or deck.categories[name]) for name in order[:PAIRS]]


def check_quotas(deck: Deck, quotas: Quotas, hands: int) -> None:
    """Raises `DatasetError` if so few hands cannot show everything so often, naming what they can."""
    each = [sum(len(card.poems) for card in cards) for cards in deck.categories.values()]
    wordings = sum(each)
    slots = [(wordings, PAIRS), (max(each), 1), (len(deck.catchphrases), CANDIDATES)]  # a hand has one of a category
    needed = max(-(-quotas.least * count // room) for count, room in slots)
    if needed > hands:
        nearest = min(hands * room // count for count, room in slots)
        raise DatasetError(
            f"teacher.quotas.least: {quotas.least} times each of {wordings} wordings takes {needed} hands, there are "
            f"{hands}; the nearest that can be met is least = {nearest}"
        )


def coverage(
    plays: Sequence[Play],
    deck: Deck,
    groups: Mapping[str, Group],
    quotas: Quotas,
    fewer: Mapping[Any, int] | None = None,
) -> dict[str, Any]:
    """What was asked for, what was reached and what is missing, in shares; `fewer` hands a split than were wanted."""
    tally = Tally()
    for play in plays:
        tally.add(play.hand, groups, play.candidates)
    reached: dict[str, tuple[float, float]] = {
        **{kind: (getattr(quotas, kind), tally.kinds[kind] / max(1, tally.hands)) for kind in KINDS},
        **{grade: (getattr(quotas, grade), tally.grades[grade] / max(1, tally.grades.total())) for grade in GRADES},
        **{group: (quotas.group, tally.groups[group] / max(1, tally.groups.total())) for group in GROUPS},
    }
    each = {
        "cards": [tally.cards[card.id] for card in deck.cards],
        "wordings": [tally.wordings[wording.id] for card in deck.cards for wording in card.poems],
        "catch-copies": [tally.titles[title] for title in deck.catchphrases],
    }
    return {
        "hands": tally.hands,
        "fewer": {what: many for what, many in (fewer or {}).items() if many},
        "impossible": _impossible(deck, groups),
        "shares": {
            name: {"asked": round(asked, 3), "reached": round(got, 3), "difference": round(got - asked, 3)}
            for name, (asked, got) in reached.items()
        },
        "least": {
            "asked": quotas.least,
            "card": min(each["cards"]),
            "wording": min(each["wordings"]),
            "catchphrase": min(each["catch-copies"]),
        },
        "seldom": {
            name: f"{few} of {len(counts)}"
            for name, counts in each.items()
            if (few := sum(count < quotas.least for count in counts))
        },
    }


def _impossible(deck: Deck, groups: Mapping[str, Group]) -> list[str]:
    """What no hand of this deck can be, since its five cards are of five categories, and why."""
    sizes = Counter(groups[name] for name in deck.categories)
    few = max(sizes.values()) < _CONCENTRATED
    told = [f"concentrated: no group has {_CONCENTRATED} categories; give it more in groups.json"] if few else []
    return told + [
        f"{group}: no category is in it; map one to it in groups.json" for group in GROUPS if not sizes[group]
    ]


def told(found: Mapping[str, Any]) -> str:
    """The coverage as a table for the terminal, under the group of each category."""
    lines = [", ".join(f"{category}: {group}" for category, group in found["groups"].items())]
    lines += [f"{'':14}{'asked':>8}{'reached':>9}{'difference':>12}"]
    for name, share in found["shares"].items():
        lines.append(f"{name:14}{share['asked']:>8.1%}{share['reached']:>9.1%}{share['difference']:>+12.1%}")
    least = found["least"]
    lines.append(
        f"each at least {least['asked']} times: cards {least['card']}, wordings {least['wording']}, "
        f"catch-copies {least['catchphrase']}"
    )
    lines += [f"{many} hands fewer: the deck has no more for {what}" for what, many in found["fewer"].items()]
    lines += [f"less often: {many} {name}" for name, many in found["seldom"].items()]
    return "\n".join([*lines, *found["impossible"]])
