from random import Random

import pytest

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import Answer, Hand, deal, hand_of
from poem.rules import RULES, Violation, check, style_violations

DECK = builtin_game().deck
HAND: Hand = hand_of(
    DECK,
    [
        ("access-01", "access-01-a"),
        ("light-01", "light-01-a"),
        ("air-01", "air-01-a"),
        ("plan-01", "plan-01-a"),
        ("living-01", "living-01-a"),
    ],
)
GOOD = compose(builtin_game(), HAND, DECK.catchphrases, 1).answer
FIRST, *REST = GOOD.poem.split("\n")


def _broken(poem: str, title: str = GOOD.title) -> list[Violation]:
    return check(Answer(title, poem), HAND, DECK.catchphrases)


def test_a_composed_poem_breaks_nothing() -> None:
    assert _broken(GOOD.poem) == []


@pytest.mark.parametrize(
    ("poem", "rule", "place"),
    [
        ("\n".join([GOOD.poem, *REST, FIRST]), "paragraphs", "poem"),
        (GOOD.poem.replace("\n", "\n\n", 1), "paragraphs", "paragraph 2"),
        (FIRST, "length", "poem"),
        (GOOD.poem[:-1] + "、", "ending", f"paragraph {len(REST) + 1}"),
        ("\n".join(["道" * 60 + "。", *REST]), "sentence", "paragraph 1"),
        ("\n".join([FIRST + "。", *REST]), "sentence", "paragraph 1"),
        ("\n".join([FIRST, FIRST, *REST[1:]]), "repeated", "paragraph 2"),
        (GOOD.poem.replace("。", "。 ", 1), "characters", "paragraph 1"),
        (GOOD.poem.replace("。", "!。", 1), "characters", "paragraph 1"),
        (GOOD.poem.replace("。", "\u200b。", 1), "characters", "paragraph 1"),
        (GOOD.poem.replace("。", "です。", 1), "polite", "paragraph 1"),
        (GOOD.poem.replace("。", "だろう。", 1), "conjecture", "paragraph 1"),
        (GOOD.poem[:-1] + "あなた。", "address", f"paragraph {len(REST) + 1}"),
        (GOOD.poem.replace("。", "最高。", 1), "superlative", "paragraph 1"),
        (GOOD.poem.replace("。", "、何よりの。", 1), "superlative", "paragraph 1"),
        (GOOD.poem.replace("。", "、唯一の。", 1), "superlative", "paragraph 1"),
        (GOOD.poem.replace("。", "、遠くはない。", 1), "denial", "paragraph 1"),
        ("丘である。門である。道である。\n" + "\n".join(REST), "definitions", "paragraph 1"),
        (GOOD.poem.replace("。", "線路。", 1), "giveaway", "air-01"),
        (GOOD.poem.replace("。", HAND.pairs[0].wording.poem_text + "。", 1), "copied", "access-01-a"),
    ],
)
def test_a_verdict_names_the_rule_and_the_place(poem: str, rule: str, place: str) -> None:
    assert (rule, place) in {(violation.rule, violation.place) for violation in _broken(poem)}


def test_a_title_of_ones_own_is_refused() -> None:
    assert _broken(GOOD.poem, "わたしの家") == [
        Violation("title", "title", "'わたしの家' is not one of the candidates")
    ]


def test_a_rule_can_be_waived_by_name() -> None:
    poem = GOOD.poem.replace("。", "線路。", 1)
    assert {v.rule for v in check(Answer(GOOD.title, poem), HAND, DECK.catchphrases, {"giveaway"})} <= {"length"}


def test_every_rule_has_a_case_above() -> None:
    cases = {case[1] for case in test_a_verdict_names_the_rule_and_the_place.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert cases | {"title"} == set(RULES)


@pytest.mark.parametrize(
    "text",
    [
        "耳を澄ます。",
        "朝を覚ます。",
        "人を励ます。",
        "友をはげます。",
        "湯を冷ます。",
        "用を済ます。",
        "耳を澄ましたまま、夜を待つ。",
        "目を覚ました子が、窓をひらく。",
        "灯りはますます遠い。",
        "絵筆でしたためる手紙。",
        "指ですくう水。",
        "手ですがる枝。",
        "升をならべる。",
        "春らしい色の布。",
        "耳を澄ますが、聞こえない。",
        "目を覚ますので、窓をひらく。",
        "人を励ますけれど、黙っている。",
        "友をはげますから、声がかれる。",
        "手ですがり、枝をゆらす。",
        "犬でしたがえる羊。",
        "かわいらしい。",
        "憎たらしい。",
        "にくたらしい猫。",
        "あたらしい靴。",
        "長ったらしい名。",
        "読みたいだけ手をのばす。",
        "手をくださず、庭を待つ。",
        "手を下されず、庭が残る。",
        "しかも、遠い。",
        "灯りも椅子も何もかも。",
        "春らしく、窓をひらく。",
    ],
)
def test_plain_verbs_are_not_polite(text: str) -> None:
    assert style_violations(text) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("家です。", "polite"),
        ("家でした。", "polite"),
        ("家でございます。", "polite"),
        ("夜が来ます。", "polite"),
        ("光を見ます。", "polite"),
        ("手紙を書きました。", "polite"),
        ("風は届きません。", "polite"),
        ("帰りましょう。", "polite"),
        ("灯りをつけますか。", "polite"),
        ("夢を見せてください。", "polite"),
        ("坂をのぼり上げます。", "polite"),
        ("駅へ行きますが、遠い。", "polite"),
        ("駅へ行きますが道は遠い。", "polite"),
        ("駅へ行きますので、靴をはく。", "polite"),
        ("駅へ行きますけれど。", "polite"),
        ("駅へ行きますけど。", "polite"),
        ("駅へ行きますから、待つ。", "polite"),
        ("駅へ行きますし、帰る。", "polite"),
        ("駅へ行きますと、夜。", "polite"),
        ("夜が来ましたが、明るい。", "polite"),
        ("夜が来ましたので、灯す。", "polite"),
        ("家ですから、帰る。", "polite"),
        ("家ですので、帰る。", "polite"),
        ("静かですけれど。", "polite"),
        ("静かですが、明るい。", "polite"),
        ("静かですが窓は明るい。", "polite"),
        ("家でしたが、庭になる。", "polite"),
        ("家でしたから、帰る。", "polite"),
        ("夢をくださる家。", "polite"),
        ("夢を見て下さい。", "polite"),
        ("春だろう。", "conjecture"),
        ("春でしょう。", "conjecture"),
        ("春かもしれない。", "conjecture"),
        ("春かも知れぬ。", "conjecture"),
        ("来るはずだ。", "conjecture"),
        ("来るに違いない。", "conjecture"),
        ("春が来るらしい。", "conjecture"),
        ("春が来たようだ。", "conjecture"),
        ("春が来るらしく、風が鳴る。", "conjecture"),
        ("春が来たらしかった。", "conjecture"),
        ("外は寒いらしい。", "conjecture"),
        ("日が上がったらしい。", "conjecture"),
        ("おそらく春。", "conjecture"),
        ("恐らく春。", "conjecture"),
        ("春かも。", "conjecture"),
        ("春かも、と言う。", "conjecture"),
        ("春かもね。", "conjecture"),
        ("夢みたいだ。", "conjecture"),
        ("あなたの家。", "address"),
        ("貴方の家。", "address"),
        ("一番の家。", "superlative"),
        ("ABC。", "characters"),
        ("ｶﾅ。", "characters"),
        ("\u202e家。", "characters"),
    ],
)
def test_what_the_genre_forbids_is_found(text: str, rule: str) -> None:
    assert rule in {violation.rule for violation in style_violations(text)}


def test_rules_hold_for_dealt_hands_of_another_seed() -> None:
    rng = Random(99)
    for seed in range(200):
        hand = deal(DECK, rng)
        assert check(compose(builtin_game(), hand, DECK.catchphrases, seed).answer, hand, DECK.catchphrases) == []
