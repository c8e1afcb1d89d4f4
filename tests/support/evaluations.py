"""Reports of `eval` as a large build would leave them, with what a test plants in them."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import islice
from random import Random

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import Answer, draw_candidates
from poem.rules import RULES
from poem_build.data.examples import Example
from poem_build.data.hands import hands
from poem_build.evaluation import matrix
from poem_build.evaluation.assemble import former_of
from poem_build.evaluation.bootstrap import Estimate
from poem_build.evaluation.gates import EvalReport
from poem_build.evaluation.matrix import Contest, Reading
from poem_build.evaluation.measures import figure
from poem_build.evaluation.outcome import Outcome
from poem_build.evaluation.poems import Specimen
from poem_build.evaluation.report import (
    MODEL,
    Evaluation,
    Figure,
    GroupRate,
    Judged,
    Losses,
    Matrix,
    Provenance,
    Quantized,
    RuleRate,
    Samples,
    Unit,
)
from poem_build.evaluation.specimen import broken, reality

HANDS = 400
SHARES = {
    "pass.first": 0.86,
    "pass.delivered": 0.99,
    "pass.length": 0.99,
    "pass.title": 1.0,
    "sentences.whole": 0.97,
    "conceal.term": 0.99,
    "conceal.lemma": 0.96,
    "conceal.words": 0.41,
    "values.spoken": 0.52,
    "sentences.shared": 0.03,
}
_LOWER = ("conceal.words", "sentences.shared")
_PLANTED = ("。この邸は最高である。", "。あなたの部屋です。", "。風はたぶん吹くかもしれない。", "")


def an_evaluation(
    gguf: str = "a" * 64,
    at: str = "2026-11-20T09:30:00+00:00",
    shares: Mapping[str, float] | None = None,
    former: Evaluation | None = None,
    deck: str = "8a6f335bf0648f5e",
) -> Evaluation:
    """The report on one build; `shares` are what it reaches, `deck` its cards' digest."""
    reached = SHARES | dict(shares or {})
    rng = Random(gguf)
    return Evaluation(
        verdict=Outcome(passed=True, below_composer=False, cut_short=False, reasons=[]),
        provenance=_provenance(gguf, at, deck),
        figures=[*_figures(reached, MODEL), *_figures(SHARES | {"pass.first": 1.0}, "composer")],
        rules=_rules(reached),
        groups=_groups(reached, rng),
        samples=_samples(rng),
        losses=Losses(
            steps=1200,
            train=[2.1 + 3 / (n + 1) for n in range(20)],
            valid=[(n * 300, 2.4 + 3 / (n + 1)) for n in range(5)],
            kept_step=1200,
        ),
        quantized=[
            Quantized(
                name=name,
                bytes=size,
                perplexity=9 + loss,
                kl_divergence=loss,
                same_top_token=1 - loss,
                served=name == "Q4_K_M",
            )
            for name, size, loss in (
                ("f16", 540_000_000, 0.0),
                ("Q8_0", 290_000_000, 0.002),
                ("Q4_K_M", 250_000_000, 0.03),
            )
        ],
        matrix=_matrix(),
        poems=list(specimens()),
        teacher_ratio=None,
        former=former_of(former) if former else None,
    )


@cache
def specimens(count: int = 20) -> tuple[Specimen, ...]:
    """Composed poems beside their hands, faults planted in three of four."""
    game, rng = builtin_game(), Random(5)
    found = []
    for n, hand in enumerate(islice(hands(game.deck, "test", rng), count)):
        candidates = draw_candidates(game.deck, rng)
        answer = compose(game, hand, candidates, n).answer
        example = Example(hand, candidates, answer)
        poem = answer.poem.replace("。\n", _PLANTED[n % 4] + "\n" if _PLANTED[n % 4] else "。\n", 1)
        found.append(
            Specimen(
                writer=MODEL,
                hand=[reality(pair) for pair in hand.pairs],
                title=answer.title,
                poem=poem,
                broken=broken(Answer(answer.title, poem), example),
                tries=1 + n % 3,
                beside=answer.poem,
                beside_writer="composer",
            )
        )
    return tuple(found)


def eval_report(
    figures: Iterable[Figure], hands: int = HANDS, table: Matrix | None = None, judges: Sequence[Judged] = ()
) -> EvalReport:
    """What the stage reports of these figures, and nothing else measured."""
    return EvalReport(
        hands=hands,
        hands_version="1-0",
        device="",
        figures=list(figures),
        rules=[],
        groups=[],
        samples=[],
        matrix=table,
        poems=[],
        teacher_ratio=None,
        judges=list(judges),
        judge_is_teacher=[],
        cost_usd=0.0,
    )


def share(name: str, value: float, writer: str = MODEL, count: int = HANDS) -> Figure:
    """A share of so many hands with an interval as wide as theirs (Wilson's)."""
    room = 1.96**2 / count
    middle, half = (value + room / 2) / (1 + room), (room * (value * (1 - value) + room / 4)) ** 0.5 / (1 + room)
    found = Estimate(value, round(middle - half, 6), round(middle + half, 6), count)
    return figure(name, name, found, "share", "lower" if name in _LOWER else "higher", writer=writer)


def _figures(reached: Mapping[str, float], writer: str) -> list[Figure]:
    found = [share(name, value, writer) for name, value in reached.items()]
    others: tuple[tuple[str, float, Unit], ...] = (("points.counted", 88.0, "points"), ("speed.answer", 4.2, "seconds"))
    for name, value, unit in others:
        told = Estimate(value, value * 0.97, value * 1.03, HANDS)
        found.append(figure(name, name, told, unit, "lower" if unit == "seconds" else "higher", writer=writer))
    return found


def _rules(reached: Mapping[str, float]) -> list[RuleRate]:
    found = []
    for n, rule in enumerate(("malformed", *RULES)):
        for when, more in (("first", 0.01 * (n % 5)), ("delivered", 0.002 * (n % 3))):
            kept = share(rule, 1 - more)
            found.append(RuleRate(rule=rule, writer=MODEL, when=when, kept=kept))  # type: ignore[arg-type]
    return found


def _groups(reached: Mapping[str, float], rng: Random) -> list[GroupRate]:
    deck = builtin_game().deck
    names = [("category", one) for one in deck.categories] + [
        ("strength", f"{n:+d}") for n in (-5, -4, -3, -2, -1, 3, 4, 5)
    ]
    return [
        GroupRate(
            kind=kind,  # type: ignore[arg-type]
            group=group,
            writer=MODEL,
            passed=share(group, reached["pass.first"] - rng.random() * 0.1, count=120),
            concealed=share(group, reached["conceal.lemma"] - rng.random() * 0.05, count=110),
        )
        for kind, group in names
    ]


def _samples(rng: Random) -> list[Samples]:
    return [
        Samples(
            name="length", writer=MODEL, unit="characters", values=[round(rng.gauss(216, 16)) for _ in range(HANDS)]
        ),
        Samples(
            name="length", writer="composer", unit="characters", values=[rng.randint(190, 238) for _ in range(HANDS)]
        ),
        Samples(name="answer", writer=MODEL, unit="seconds", values=[rng.gauss(4.2, 0.5) for _ in range(HANDS)]),
        Samples(name="first_token", writer=MODEL, unit="seconds", values=[rng.gauss(0.8, 0.1) for _ in range(HANDS)]),
    ]


@cache
def _matrix() -> Matrix | None:
    rng = Random(7)
    writers = (MODEL, "composer", "hand")
    pairs = [(MODEL, "composer"), (MODEL, "hand"), ("composer", "hand")]
    contests = [
        Contest(
            judge,
            "overall",
            {pair: [rng.choices((1.0, 0.5, 0.0), (3, 4, 3 + n))[0] for _ in range(40)] for n, pair in enumerate(pairs)},
        )
        for judge in ("counted", "ollama:judge-7b")
    ]
    readings = [Reading(0, rng.choice((0, 1))) for _ in range(80)]
    bias = matrix.order_bias("ollama:judge-7b", readings, 2)
    return matrix.matrix(writers, contests, [bias] if bias else [])


def _provenance(gguf: str, at: str, deck: str) -> Provenance:
    return Provenance(
        made_at=at,
        seconds=1860.0,
        recipe="gemma-3-270m",
        params="268M",
        base="gemma-3-270m",
        licence="Gemma Terms of Use",
        game="",
        game_digest=deck,
        prompt_version="53e7fd16cac0",
        hands=HANDS,
        hands_version="1-f85a0819",
        teacher="composer",
        gguf=gguf,
        steps=1200,
        device="a processor, 2 cores",
        packages={"llama-cpp-python": "0.3.36", "torch": "2.13.0"},
        judges=[Judged(name="rules"), Judged(name="counted"), Judged(name="ollama:judge-7b", asked=240, unread=2)],
        cost_usd=0.0,
    )
