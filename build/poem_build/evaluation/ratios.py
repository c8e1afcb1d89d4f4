"""What two writers, two models or a judge had to say → figures of the one beside the other."""

import math
from collections.abc import Iterator, Mapping, Sequence

from poem_build.evaluation import bootstrap
from poem_build.evaluation.gates import COUNTED
from poem_build.evaluation.hands import TEACHER
from poem_build.evaluation.jury import Heard
from poem_build.evaluation.likelihood import Likely
from poem_build.evaluation.measures import figure
from poem_build.evaluation.names import BASE, COMPOSER
from poem_build.evaluation.report import MODEL, Duel, Figure, Ratio

Points = Mapping[str, Sequence[float | None]]
"""By writer, of each hand; None where it was not asked."""


def likely(merged: Likely, base: Likely) -> list[Figure]:
    """What the training made likelier and less likely."""
    found = []
    for writer, one in ((MODEL, merged), (BASE, base)):
        what = "nats that a right poem is less likely under another hand's cards"
        swapped = bootstrap.mean(one.swapped)
        found.append(figure("cards.above", what, swapped, "nats", "higher", writer=writer))
        if one.by_hand:
            value = bootstrap.ratio(one.by_hand, one.by_hand_tokens, math.exp)
            what = "perplexity of poems by hand that are held out"
            found.append(figure("perplexity.by_hand", what, value, "perplexity", "lower", writer=writer))
        value = bootstrap.ratio(one.plain, one.plain_tokens, math.exp)
        found.append(
            figure("perplexity.plain", "perplexity of plain Japanese", value, "perplexity", "lower", writer=writer)
        )
    lost = [now - before for now, before in zip(merged.plain, base.plain, strict=True)]
    what = "nats a token that plain Japanese became less likely by"
    forgot = bootstrap.ratio(lost, merged.plain_tokens)
    return [*found, figure("forgetting", what, forgot, "nats", "lower", writer=MODEL)]


def judged(heard: Heard) -> Iterator[Figure]:
    """What a judge named and what points it gave, by writer."""
    for writer, shares in heard.named.items():
        what = f"of the five realities, named by {heard.judge} among fifteen; chance is a third"
        yield figure("conceal.judge", what, bootstrap.mean(shares), "share", "lower", writer=writer)
    for writer, some in heard.points.items():
        if read := [one for one in some if one is not None]:
            what = f"points of 100 by {heard.judge}, none for a hand without a poem"
            yield figure("points.judge", what, bootstrap.mean(read), "points", "higher", writer=writer)


def above_composer(points: Points) -> list[Figure]:
    """By how many points the model is above the composer on the same hands."""
    pairs = zip(points[MODEL], points[COMPOSER], strict=True)
    found = [mine - theirs for mine, theirs in pairs if mine is not None and theirs is not None]
    if not found:
        return []
    what = "points that can be counted, above the composer's on the same hands"
    return [figure("points.above_composer", what, bootstrap.mean(found), "points", "higher", writer=MODEL)]


def over_composer(duels: Sequence[Duel]) -> list[Figure]:
    """The duels with the composer that the model won, by the first language model that judged."""
    met = [one for one in duels if (one.first, one.second, one.aspect) == (MODEL, COMPOSER, "overall")]
    return [
        one.share.model_copy(update={"name": "duel.composer", "what": f"{one.share.what}, by {one.judge}"})
        for one in met
        if one.judge != COUNTED
    ][:1]


def teacher_ratio(heard: Sequence[Heard], counted: Points) -> Ratio | None:
    """The student's mean points over the teacher's, by the first judge that gave any, else by those counted."""
    for judge, points in [*((one.judge, one.points) for one in heard), (COUNTED, counted)]:
        pairs = zip(points.get(MODEL, ()), points.get(TEACHER, ()), strict=False)
        both = [(mine, theirs) for mine, theirs in pairs if mine is not None and theirs is not None]
        if any(theirs for _, theirs in both):
            found = bootstrap.ratio([mine for mine, _ in both], [theirs for _, theirs in both])
            return Ratio(mean=found.value, low=found.low, high=found.high, hands=len(both), judge=judge)
    return None
