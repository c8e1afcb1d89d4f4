"""The fixed set: the same for every build, held out, and partly written for already."""

from collections import Counter

from poem.game import builtin_game
from poem.hand import PAIRS
from poem.pattern import pattern_key
from poem.rules import check
from poem_build.data.examples import Example
from poem_build.data.hands import split_of
from poem_build.evaluation import hands
from poem_build.evaluation.jury import Jury

GAME = builtin_game()


def test_the_set_is_fixed_and_held_out() -> None:
    found = hands.trials(GAME, 120)
    # Another digest means that reports are of other hands than before: right where deck or held-out poems change.
    assert hands.version(found) == hands.version(hands.trials(GAME, 120)) == "2-bcb6fcb0"
    assert len({pattern_key(trial.example.hand) for trial in found}) == len(found) == 120
    given = [trial for trial in found if hands.BY_HAND in trial.given]
    kept = {pattern_key(poem.hand) for poem in GAME.poems if poem.held_out}
    assert len(given) == 120 // 4
    assert {pattern_key(trial.example.hand) for trial in given} <= kept
    assert {split_of(trial.example.hand) for trial in found[30:]} == {"test"}
    for trial in found:
        example = trial.example
        assert len(example.hand.pairs) == PAIRS
        assert check(example.answer, example.hand, example.candidates) == []


def test_a_teacher_s_poems_take_the_place_of_dealt_hands() -> None:
    taught = [trial.example for trial in hands.trials(GAME, 20)[10:]]
    found = hands.trials(GAME, 20, taught)
    assert [sorted(trial.given) for trial in found] == [["hand"], ["teacher"]] * 5 + [[]] * 10
    assert [trial.example for trial in found[1:10:2]] == taught[:5]
    assert isinstance(found[0].example, Example)
    assert hands.version(found) != hands.version(hands.trials(GAME, 20))


def test_a_judge_reads_of_a_teacher_as_much_as_of_those_who_wrote_by_hand() -> None:
    taught = [trial.example for trial in hands.trials(GAME, 200)[100:]]
    judged = hands.trials(GAME, 400, taught)[: Jury().hands]
    assert Counter(name for trial in judged for name in trial.given) == {hands.BY_HAND: 20, hands.TEACHER: 20}
