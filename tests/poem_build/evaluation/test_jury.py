"""Judges that are language models, against a server that speaks all of their shapes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from poem.game import builtin_game
from poem_build.errors import TeacherError
from poem_build.evaluation import jury, matrix, questions
from poem_build.evaluation.answers import Sheet
from poem_build.evaluation.jury import Heard, Juror, Jury
from poem_build.evaluation.report import OrderBias
from poem_build.teacher.asking import AnswerError
from poem_build.teacher.chat import Anthropic, Ollama, OpenAI
from poem_build.teacher.gemini import Gemini
from poem_build.teacher.money import FREE, PRICES, Price, load_prices, price_of
from poem_build.teacher.protocol import Teacher, Usage
from support.course import spec_of
from support.gemini_stand_in import KEY
from support.judges import Bench, first_come, judges, nonsense, poems_of, reader

GAME = builtin_game()
HANDS = 8
"""Six of them have a poem by hand."""


def _by_hand(sheets: list[Sheet]) -> Callable[[str], float]:
    """Whoever likes what was written by hand."""
    poems = {answer.poem for _, _, answer in sheets[1].delivered}
    return lambda text: float(text.split("\n", 1)[1] in poems)


def _open(kind: str, url: str) -> Teacher:
    spec = spec_of(name=kind, model="m" if kind != "gemini" else "gemini-2.5-flash")
    match kind:
        case "gemini":
            return Gemini(spec, KEY, url, load_prices().models[spec.model])
        case "anthropic":
            return Anthropic(spec, "a-key", url)
        case "ollama":
            return Ollama(spec, url)
        case _:
            return OpenAI(spec, "a-key", f"{url}/v1", FREE)


def _jury(bench: Bench, kind: str = "openai", price: Price = FREE, most: float | None = None) -> Jury:
    spec = spec_of(name=kind, model="m", temperature=0.0, tries=2)
    return Jury((Juror(spec, price, partial(_open, kind, bench.url)),), HANDS, most)


def _hear(bench: Bench, sheets: list[Sheet], out: Path, **jury_of: object) -> Heard:
    return jury.hear(_jury(bench, **jury_of), sheets, GAME, out)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["gemini", "openai", "anthropic", "ollama"])
def test_a_judge_of_any_kind_reads_both_orders_and_is_heard(kind: str, sheets: list[Sheet], tmp_path: Path) -> None:
    with judges(reader(_by_hand(sheets))) as bench:
        heard = _hear(bench, sheets, tmp_path, kind=kind)
    duel = heard.contests[0].outcomes["composer", "hand"]
    assert (heard.judge, heard.contests[0].aspect, duel) == (f"{kind}:m", "overall", [matrix.LOST] * 6 + [None] * 2)
    assert heard.bias is not None
    assert (heard.bias.first.value, heard.bias.biased, heard.bias.overturned.value) == (0.5, False, 0.0)
    assert {writer: len(shares) for writer, shares in heard.named.items()} == {"composer": 8, "hand": 6}
    assert heard.points["hand"] == [50.0] * 6 + [None] * 2
    assert (heard.unread, heard.asked) == (0, len(bench.asked))
    read = [poems_of(question) for question in bench.asked if "【甲】" in question]
    assert sorted(read) == sorted(pair[::-1] for pair in read)


def test_a_judge_that_takes_what_stands_first_is_found_out_and_decides_nothing(
    sheets: list[Sheet], tmp_path: Path
) -> None:
    with judges(first_come) as bench:
        heard = _hear(bench, sheets, tmp_path)
    assert heard.contests[0].outcomes["composer", "hand"][:6] == [matrix.TIED] * 6
    assert isinstance(heard.bias, OrderBias)
    assert (heard.bias.first.value, heard.bias.overturned.value, heard.bias.biased) == (1.0, 1.0, True)
    found = matrix.matrix(["composer", "hand"], heard.contests, [heard.bias])
    assert found is not None
    assert [score.score for score in found.scores] == [0.0] * 6


def test_a_judge_that_talks_nonsense_is_heard_out_and_counts_for_nothing(sheets: list[Sheet], tmp_path: Path) -> None:
    with judges(nonsense) as bench:
        heard = _hear(bench, sheets, tmp_path)
    assert heard.unread == heard.asked > 0
    assert len(bench.asked) == 2 * heard.asked  # its tries
    assert (heard.bias, heard.named) == (None, {})
    assert set(heard.points["composer"]) == {None}
    assert matrix.matrix(["composer", "hand"], heard.contests, []) is None


def test_nothing_is_asked_twice_nor_paid_beyond_the_budget(sheets: list[Sheet], tmp_path: Path) -> None:
    price, asks = price_of(load_prices(), "gemini-2.5-flash", PRICES), jury.docket(sheets, GAME, HANDS).asks
    one = price.of(Usage(prompt=100, output=10))
    enough = max(price.most(ask, (), spec_of().max_tokens) for ask in asks) + 5 * one
    with judges(reader(_by_hand(sheets))) as bench:
        with pytest.raises(TeacherError, match=r"--max-cost: \$0\.\d+ allow no further question"):
            _hear(bench, sheets, tmp_path, price=price, most=enough)
        paid = len(bench.asked)
        heard = _hear(bench, sheets, tmp_path, price=price)
        assert 0 < paid < heard.asked == len(bench.asked)
        again = _hear(bench, sheets, tmp_path, price=price)
    assert len(bench.asked) == heard.asked
    assert again.contests == heard.contests
    assert again.usd == heard.usd == pytest.approx(heard.asked * one, rel=1e-6)


def test_what_it_costs_is_reckoned_before(sheets: list[Sheet]) -> None:
    asked = jury.docket(sheets, GAME, 6).asks
    price = price_of(load_prices(), "gemini-2.5-flash", PRICES)
    count, usd = jury.reckoned(GAME, len(sheets), 6, price)
    assert count == len(asked) == 2 * 6 + 2 * 6 + 2 * 6
    assert usd > 0


def test_a_hand_without_a_poem_loses_and_nobody_is_asked(sheets: list[Sheet]) -> None:
    composer, hand = sheets
    failed = [[row.model_copy(update={"verdicts": {"rules": ["length"]}}) for row in rows] for rows in composer.tries]
    poor = Sheet("poor", composer.trials, failed)
    found = jury.docket([poor, composer], GAME, 3)
    assert found.duels["poor", "composer"] == [matrix.LOST] * 3
    assert found.rubrics["poor"] == [0.0] * 3
    assert found.guesses["poor"] == []
    assert jury.docket([hand, composer], GAME, 24).duels["hand", "composer"][-1] is None


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("duel", "甲", "JSONではありません"),
        ("duel", '{"overall": "甲"}', "overall、unity、voice を持つJSON"),
        ("duel", '{"overall": "甲", "unity": "丙", "voice": "同"}', "unity は 甲・乙・同"),
        ("guess", '{"numbers": [1, 2, 3, 4, 16]}', "異なる番号が5つ"),
        ("guess", '{"numbers": [1, 2, 3, 4, 4]}', "異なる番号が5つ"),
        ("rubric", '{"concealment": 41, "unity": 1, "voice": 1, "forbidden": 1, "length": 1}', "concealment は0から40"),
        ("rubric", '{"concealment": 4, "unity": true, "voice": 1, "forbidden": 1, "length": 1}', "unity は0から20"),
    ],
)
def test_an_answer_that_will_not_do_is_told_why(sheets: list[Sheet], kind: str, text: str, told: str) -> None:
    found = jury.docket(sheets, GAME, 1)
    both = found.duels["composer", "hand"][0]
    rubric = found.rubrics["hand"][0]
    assert isinstance(both, tuple)
    assert not isinstance(rubric, float | None)
    ask = {"duel": both[0], "guess": found.guesses["hand"][0][0], "rubric": rubric}[kind]
    with pytest.raises(AnswerError, match=told):
        questions.read(ask, text)
