"""Each gate of `eval` against the fault that it is there for: in poems, in a judge's word, in a model's likelihoods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import Answer, Hand, Pair
from poem.shape import encode
from poem_build.data.examples import Example
from poem_build.engine.protocol import Reply
from poem_build.evaluation import gates, jury, matrix, measures, ratios
from poem_build.evaluation.answers import Sheet, play
from poem_build.evaluation.hands import Trial
from poem_build.evaluation.jury import Juror, Jury
from poem_build.evaluation.likelihood import Likely
from poem_build.evaluation.report import Figure
from poem_build.recipe.schema import load_recipe
from poem_build.teacher.chat import OpenAI
from poem_build.teacher.money import FREE
from support.course import spec_of
from support.evaluations import eval_report
from support.judges import judges, poems_of

GAME = builtin_game()
HANDS = 24
JUDGED = 6
GATE = load_recipe("tiny").gate.model_copy(
    update={
        "eval_hands": HANDS,
        "eval_pass": 0.9,
        "deliver_pass": 0.9,
        "base_pass_at_most": 0.1,
        "cards_above": 0.0,
        "whole_sentences": 0.99,
        "conceal_lemma": 0.95,
        "named_at_most": 0.6,
        "values_above": -0.1,  # so few hands leave a tenth either way
        "shared_at_most": 0.5,
        "self_bleu_at_most": 60.0,
        "answer_s_at_most": 20.0,
        "forgets_at_most": 0.2,
        "points_at_least": 60.0,
        "beats_composer": 0.4,
    }
)
CUT = "色という色が風をはらみ、目覚めの窓は。"
Edit = Callable[[Sequence[Answer], int, int], Answer]
"""(the sound poems, the hand's number, the try) → what is written instead."""


@dataclass
class Writer:
    """Writes the sound poems with a fault in them."""

    trials: Sequence[Trial]
    sound: Sequence[Answer]
    edit: Edit
    seconds: float = 4.0
    tries: int = 3

    def write(self, trial: Trial, seed: int) -> Reply:
        n = self.trials.index(trial)
        text = encode(self.edit(self.sound, n, seed // len(self.trials)))
        return Reply(text, "stop", self.seconds, tokens=100, tokens_s=self.seconds)


def _polite(answer: Answer) -> Answer:
    return replace(answer, poem=answer.poem.replace("。", "です。", 1))


def _cut(answer: Answer) -> Answer:
    """With its second sentence broken off, and within the rules as far as its length lets it."""
    first, second, rest = answer.poem.split("。", 2)
    return replace(answer, poem=f"{first}。{second[: len(second) - len(second.lstrip())]}{CUT}{rest}")


def _keep(poems: Sequence[Answer], n: int, attempt: int) -> Answer:
    return poems[n]


IN_POEMS: dict[str, Edit] = {
    "eval_pass": lambda poems, n, attempt: poems[n] if attempt else _polite(poems[n]),
    "deliver_pass": lambda poems, n, attempt: _polite(poems[n]),
    "whole_sentences": lambda poems, n, attempt: _cut(poems[n]),
    "values_above": lambda poems, n, attempt: replace(poems[n], poem=poems[(n + 1) % len(poems)].poem),
    "shared_at_most": lambda poems, n, attempt: replace(poems[n], poem=poems[0].poem),
    "self_bleu_at_most": lambda poems, n, attempt: replace(poems[n], poem=poems[0].poem),
}


@pytest.fixture(scope="module")
def sound(there: list[Trial]) -> list[Answer]:
    """What the model writes where nothing is planted: not the composer's very poems, but as good."""
    return [compose(GAME, one.example.hand, one.example.candidates, 4711 + n).answer for n, one in enumerate(there)]


def _written(trials: Sequence[Trial], sound: Sequence[Answer], room: Path, edit: Edit = _keep, **more: Any) -> Sheet:
    return play(more.pop("name", "model"), Writer(trials, sound, edit, **more), trials, room)


def _figures(sheet: Sheet) -> list[Figure]:
    return measures.measure(sheet, GAME).figures


def _heard(model: Sheet, composer: Sheet, mind: Callable[[str, str], Any], room: Path) -> list[Figure]:
    """What a judge of that mind makes of the model's poems and the composer's."""
    with judges(mind) as bench:
        spec = spec_of(name="openai", model="m", temperature=0.0)
        jurors = (Juror(spec, FREE, partial(OpenAI, spec, "a-key", f"{bench.url}/v1", FREE)),)
        (heard,) = jury.hear(Jury(jurors, JUDGED), [model, composer], GAME, room)
    table = matrix.matrix(["model", "composer"], heard.contests, [])
    return [*ratios.judged(heard), *ratios.over_composer(table.duels if table else [])]


def _judge(
    favours: Callable[[str], float], *, points: int = 80, hands: Mapping[str, Hand] | None = None
) -> Callable[[str, str], Any]:
    """Gives so many points, takes the poem that it favours, and guesses; who is told a poem's hand names all five."""

    def mind(_: str, question: str) -> Any:
        texts = poems_of(question)
        if "【現実】" in question:
            hand = (hands or {}).get(texts[0])
            realities = {pair.card.condition_text for pair in hand.pairs} if hand else set()
            listed = question.split("【現実】\n")[1].splitlines()
            known = [n for n, line in enumerate(listed, 1) if line.partition(". ")[2] in realities]
            return {"numbers": [*known, *(n for n in range(1, 16) if n not in known)][:5]}
        if len(texts) == 1:
            shares = {"concealment": 40, "unity": 20, "voice": 15, "forbidden": 15, "length": 10}
            return {name: most * points // 100 for name, most in shares.items()}
        first, second = map(favours, texts)
        return dict.fromkeys(
            ("overall", "unity", "voice"), "同" if first == second else "甲" if first > second else "乙"
        )

    return mind


def _losses(plain: float = 30.0, swapped: float = 5.0) -> Likely:
    return Likely([plain] * 20, [10.0] * 20, [], [], [swapped + (-1) ** n for n in range(20)])


@pytest.fixture(scope="module")
def well(there: list[Trial], sheets: list[Sheet], sound: list[Answer], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The figures of a model that every gate lets through, by their names and writers."""
    room = tmp_path_factory.mktemp("sound")
    model = _written(there, sound, room)
    figures = [*_figures(model), *ratios.likely(_losses(), _losses())]
    figures += _heard(model, sheets[0], _judge(lambda text: 0.0), room)
    silent = _written(there, sound, room, lambda poems, n, attempt: Answer("", ""), name="base/free", tries=1)
    figures += _figures(silent)
    return {(one.name, one.writer): one for one in figures}


def _refused(figures: dict[tuple[str, str], Figure], faulty: Sequence[Figure] = ()) -> list[str]:
    there = figures | {(one.name, one.writer): one for one in faulty}
    lines = gates.red_lines(eval_report(there.values(), hands=HANDS), GATE)
    assert len(lines) == len(gates.LINES)
    return [line.key for line in lines if not line.holds]


def test_a_sound_model_passes_every_gate(well: Any) -> None:
    assert _refused(well) == []


@pytest.mark.parametrize("key", IN_POEMS)
def test_a_fault_in_the_poems_is_caught(
    well: Any, there: list[Trial], sound: list[Answer], tmp_path: Path, key: str
) -> None:
    assert key in _refused(well, _figures(_written(there, sound, tmp_path, IN_POEMS[key])))


def test_a_reality_in_another_form_a_slow_answer_and_a_base_that_needs_no_training_are_caught(
    well: Any, there: list[Trial], sound: list[Answer], tmp_path: Path
) -> None:
    cards = [GAME.deck.by_id[key] for key in ("access-04", "light-07", "plan-03", "living-05", "around-02")]
    hand = Hand(tuple(Pair(card, card.poems[0]) for card in cards))
    candidates = there[0].example.candidates
    plain = compose(GAME, hand, candidates, 1).answer
    slope = Trial(Example(hand, candidates, plain))
    told = replace(plain, poem=plain.poem.replace(plain.poem.split("。")[0], "灯のともる丘へ、人は登った", 1))
    assert _refused(well, _figures(_written([slope], [told], tmp_path / "slope"))) == ["conceal_lemma"]
    slow = _figures(_written(there, sound, tmp_path / "slow", seconds=31.0))
    assert _refused(well, slow) == ["answer_s_at_most"]
    base = _figures(_written(there, sound, tmp_path / "base", name="base/free"))
    assert _refused(well, base) == ["base_pass_at_most"]


def test_a_model_that_forgets_or_does_not_look_at_its_cards_is_caught(well: Any) -> None:
    assert _refused(well, ratios.likely(_losses(plain=34.0), _losses())) == ["forgets_at_most"]
    assert _refused(well, ratios.likely(_losses(swapped=0.0), _losses())) == ["cards_above"]


def test_what_a_judge_sees_through_or_thinks_little_of_is_caught(
    well: Any, there: list[Trial], sheets: list[Sheet], sound: list[Answer], tmp_path: Path
) -> None:
    model = _written(there, sound, tmp_path)
    ours = {answer.poem: trial.example.hand for trial, answer in zip(there, sound, strict=True)}
    for key, mind in (
        ("named_at_most", _judge(lambda text: 0.0, hands=ours)),
        ("points_at_least", _judge(lambda text: 0.0, points=40)),
        ("beats_composer", _judge(lambda text: -float(text.split("\n", 1)[1] in ours))),
    ):
        assert _refused(well, _heard(model, sheets[0], mind, tmp_path / key)) == [key]
