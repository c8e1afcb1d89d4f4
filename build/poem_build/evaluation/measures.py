"""A writer's sheet → its figures: rules, concealment, meaning, variety, nearness to poems by hand, speed."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from poem.game import Game
from poem.hand import Hand
from poem.rules import RULES
from poem_build.data.runs import distinct
from poem_build.evaluation import bootstrap, concealment, counted, diversity, meaning
from poem_build.evaluation.answers import Row, Sheet
from poem_build.evaluation.bootstrap import Estimate
from poem_build.evaluation.hands import BY_HAND
from poem_build.evaluation.report import Figure, GroupRate, RuleRate, Samples, Unit
from poem_build.judge.delivery import sentences
from poem_build.judge.protocol import MALFORMED

Better = Literal["higher", "lower", ""]
_RUNS = (2, 4)
"""Characters of the runs whose variety is counted."""


@dataclass(frozen=True)
class Measured:
    """What there is to say of one writer."""

    figures: list[Figure]
    rules: list[RuleRate]
    groups: list[GroupRate]
    samples: list[Samples]


def figure(name: str, what: str, found: Estimate, unit: Unit, better: Better, *, writer: str = "") -> Figure:
    """The estimate under its name."""
    return Figure(
        name=name,
        writer=writer,
        what=what,
        value=found.value,
        low=found.low,
        high=found.high,
        unit=unit,
        better=better,
        count=found.count,
    )


def measure(sheet: Sheet, game: Game) -> Measured:
    """All figures of the writer."""
    if not sheet.first:
        return Measured([], [], [], [])
    figures = [*_compliance(sheet), *_poems(sheet, game), *_speed(sheet)]
    return Measured(figures, _rules(sheet), _groups(sheet), _samples(sheet))


def points_of(sheet: Sheet) -> list[float | None]:
    """The counted points of each hand; none for one that got no poem, None for one that was not asked."""
    found: list[float | None] = []
    for trial, rows in zip(sheet.trials, sheet.tries, strict=True):
        answer = rows[-1].answer if rows and rows[-1].passed else None
        found.append(counted.points(trial.example.hand, answer.poem) if answer else 0.0 if rows else None)
    return found


def _compliance(sheet: Sheet) -> Iterator[Figure]:
    def rate(name: str, what: str, kept: Sequence[bool]) -> Figure:
        return figure(name, what, bootstrap.share(kept), "share", "higher", writer=sheet.writer)

    first, last = sheet.first, sheet.last
    yield rate("pass.first", "hands within all rules at the first try", [one.passed for one in first])
    yield rate("pass.delivered", "hands that get a poem within all rules", [one.passed for one in last])
    yield rate("pass.length", "of the last answers, right in length", [_keeps("length", one) for one in last])
    yield rate("pass.title", "of the last answers, titled by a candidate", [_keeps("title", one) for one in last])
    what = "points of 100 that can be counted, none for a hand without a poem"
    points = [one for one in points_of(sheet) if one is not None]
    yield figure("points.counted", what, bootstrap.mean(points), "points", "higher", writer=sheet.writer)


def _poems(sheet: Sheet, game: Game) -> Iterator[Figure]:
    """What is to be said of the poems that were delivered."""
    if not sheet.delivered:
        return

    def told(name: str, what: str, found: Estimate, unit: Unit, better: Better) -> Figure:
        return figure(name, what, found, unit, better, writer=sheet.writer)

    hands = [example.hand for example, _, _ in sheet.delivered]
    poems = [answer.poem for _, _, answer in sheet.delivered]

    whole = [sentences([poem]) for poem in poems]
    yield told(
        "sentences.whole",
        "whole sentences in what is delivered",
        bootstrap.ratio([one.whole for one in whole], [one.count for one in whole]),
        "share",
        "higher",
    )
    hidden = [not concealment.told_by_term(hand, poem) for hand, poem in zip(hands, poems, strict=True)]
    yield told("conceal.term", "poems without a term of their cards", bootstrap.share(hidden), "share", "higher")
    hidden = [not concealment.told_by_lemma(hand, poem) for hand, poem in zip(hands, poems, strict=True)]
    what = "poems without a term of their cards in any form"
    yield told("conceal.lemma", what, bootstrap.share(hidden), "share", "higher")
    rows = [concealment.line_up(hand, game.deck) for hand in hands]
    guessed = [concealment.guess(poem, there.cards) for poem, there in zip(poems, rows, strict=True)]
    named = [concealment.named(some, there) for some, there in zip(guessed, rows, strict=True)]
    what = "of the five realities, named among fifteen by common words alone; chance is a third"
    yield told("conceal.words", what, bootstrap.mean(named), "share", "lower")
    yield from _meaning(sheet, game, hands, poems, told)
    yield from _variety(poems, told)
    near = [
        diversity.rouge_l(answer.poem, there.poem)
        for trial, rows in zip(sheet.trials, sheet.tries, strict=True)
        if rows and (there := trial.given.get(BY_HAND)) and sheet.writer != BY_HAND and (answer := rows[-1].answer)
    ]
    if near:
        yield told("rouge_l", "ROUGE-L of characters with the poem by hand", bootstrap.mean(near), "ratio", "higher")


def _meaning(
    sheet: Sheet, game: Game, hands: Sequence[Hand], poems: Sequence[str], told: Callable[..., Figure]
) -> Iterator[Figure]:
    own = [meaning.spoken(game, hand, poem) for hand, poem in zip(hands, poems, strict=True)]
    yield told("values.spoken", "wordings of whose values the poem has a word", bootstrap.mean(own), "share", "higher")
    if len(hands) > 1:  # each poem against the next hand
        others = [*hands[1:], hands[0]]
        strange = [meaning.spoken(game, hand, poem) for hand, poem in zip(others, poems, strict=True)]
        above = [mine - theirs for mine, theirs in zip(own, strange, strict=True)]
        what = "by how much that is more than another hand's"
        yield told("values.above", what, bootstrap.mean(above), "share", "higher")
    fits = [meaning.title_fit(answer.title, one.candidates, answer.poem) for one, _, answer in sheet.delivered]
    what = "words of the title that come back in the poem, above the other candidates'"
    yield told("title.fit", what, bootstrap.mean(fits), "share", "higher")


def _variety(poems: Sequence[str], told: Callable[..., Figure]) -> Iterator[Figure]:
    for n in _RUNS:
        found = bootstrap.ratio(*distinct(poems, n))
        yield told(f"distinct.{n}", f"different ones among runs of {n} characters", found, "share", "higher")
    found = bootstrap.ratio(*diversity.shared_sentences(poems))
    what = "sentences that another hand's poem has too"
    yield told("sentences.shared", what, found, "share", "lower")
    if alike := diversity.self_bleu(poems):
        what = "BLEU of a poem with the others"
        yield told("self_bleu", what, bootstrap.mean(alike), "points", "lower")


def _speed(sheet: Sheet) -> Iterator[Figure]:
    rows = [row for row in sheet.first[1:] or sheet.first if row.tokens]  # the first loads the model
    if not rows:
        return
    answer = bootstrap.median([row.seconds for row in rows])
    what = "seconds of a whole answer, the middle one"
    yield figure("speed.answer", what, answer, "seconds", "lower", writer=sheet.writer)
    if first := [row.first_s for row in rows if row.first_s]:
        what = "seconds until the first token, the middle one"
        yield figure("speed.first", what, bootstrap.median(first), "seconds", "lower", writer=sheet.writer)
    if timed := [row for row in rows if row.tokens_s]:
        found = bootstrap.ratio([row.tokens for row in timed], [row.tokens_s for row in timed])
        yield figure("speed.tokens", "tokens a second", found, "tokens/s", "higher", writer=sheet.writer)


def _rules(sheet: Sheet) -> list[RuleRate]:
    found = []
    both: tuple[tuple[Literal["first", "delivered"], list[Row]], ...]
    both = (("first", sheet.first), ("delivered", sheet.last))
    for when, rows in both:
        for rule in (MALFORMED, *RULES):
            rate = bootstrap.share([_keeps(rule, row) for row in rows])
            kept = figure(f"rule.{rule}.{when}", rule, rate, "share", "higher", writer=sheet.writer)
            found.append(RuleRate(rule=rule, writer=sheet.writer, when=when, kept=kept))
    return found


def _groups(sheet: Sheet) -> list[GroupRate]:
    """First answers and concealment by what the hand holds."""
    held: dict[tuple[Literal["category", "strength"], str], list[tuple[Row, bool | None]]] = {}
    for trial, rows in zip(sheet.trials, sheet.tries, strict=True):
        if not rows:
            continue
        hand, answer = trial.example.hand, rows[-1].answer
        told = set(concealment.told_by_lemma(hand, answer.poem)) if answer and rows[-1].passed else None
        for pair in hand.pairs:
            hidden = None if told is None else pair.card.id not in told
            held.setdefault(("category", pair.card.category), []).append((rows[0], hidden))
            held.setdefault(("strength", f"{pair.card.strength:+d}"), []).append((rows[0], hidden))
    found = []
    for (kind, group), some in held.items():
        passed = bootstrap.share([row.passed for row, _ in some])
        concealed = None
        if known := [hidden for _, hidden in some if hidden is not None]:
            rate = bootstrap.share(known)
            concealed = figure("conceal.lemma", group, rate, "share", "higher", writer=sheet.writer)
        found.append(
            GroupRate(
                kind=kind,
                group=group,
                writer=sheet.writer,
                passed=figure("pass.first", group, passed, "share", "higher", writer=sheet.writer),
                concealed=concealed,
            )
        )
    return sorted(found, key=lambda one: (one.kind, _order(one)))


def _order(one: GroupRate) -> tuple[int, str]:
    return (int(one.group), "") if one.kind == "strength" else (0, one.group)


def _samples(sheet: Sheet) -> list[Samples]:
    lengths = [float(len(answer.poem)) for row in sheet.first if (answer := row.answer)]
    timed = [row for row in sheet.first[1:] or sheet.first if row.tokens]
    rates = [row.tokens / row.tokens_s for row in timed if row.tokens_s]
    kinds: tuple[tuple[Literal["length", "first_token", "answer", "tokens_per_second"], Unit, list[float]], ...] = (
        ("length", "characters", lengths),
        ("first_token", "seconds", [row.first_s for row in timed if row.first_s]),
        ("answer", "seconds", [row.seconds for row in timed]),
        ("tokens_per_second", "tokens/s", [round(rate, 2) for rate in rates if math.isfinite(rate)]),
    )
    return [Samples(name=name, writer=sheet.writer, unit=unit, values=values) for name, unit, values in kinds if values]


def _keeps(rule: str, row: Row) -> bool:
    """Whether the answer keeps the rule; one that is no answer keeps none."""
    return rule not in row.broken and MALFORMED not in row.broken
