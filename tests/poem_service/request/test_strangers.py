"""Hands of anybody's own deck, however odd its words: a poem within the rules, or with the one rule waived."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from poem.game import builtin_game
from poem.rules import check
from poem_service.errors import RequestError
from poem_service.request.fallback import fall_back
from poem_service.request.intake import read_hand
from support.served import a_hand, sent

DECK = builtin_game().deck
TITLES = DECK.catchphrases[:20]
WORDS = st.one_of(
    st.text(min_size=1, max_size=40),
    st.text(st.characters(min_codepoint=0x3041, max_codepoint=0x30FF), min_size=1, max_size=12),
    st.sampled_from(["灯り", "窓", "朝", "静けさ", "。", "の", "です", "最高", "{N}", "駅前0分", "ABC"]),
)
CARDS = st.lists(st.tuples(WORDS, WORDS, WORDS, st.integers(-6, 5)), min_size=5, max_size=5)


@settings(max_examples=150, deadline=None)
@given(CARDS, st.integers(0, 2**31))
def test_a_stranger_s_hand_is_answered_within_the_rules(cards: list[tuple[str, str, str, int]], seed: int) -> None:
    pairs = []
    for n, (category, condition, wording, strength) in enumerate(cards):
        poem = {"id": f"w{n}", "poem_text": wording}
        card = {"id": f"c{n}", "category": category, "condition_text": condition, "strength": strength, "poems": [poem]}
        pairs.append({"conditionCard": card, "selectedPoem": poem})
    try:
        hand = read_hand(msgspec.json.encode({"selectedPairs": pairs}), DECK, "open")
    except (RequestError, UnicodeEncodeError):
        return
    found = fall_back(builtin_game(), hand, TITLES, seed, None)
    assert check(found.answer, hand, TITLES, {"giveaway"} if found.waived else ()) == []


def test_a_card_of_ours_with_a_stranger_s_text_is_a_stranger_s() -> None:
    request = sent(a_hand())
    request["selectedPairs"][0]["conditionCard"]["condition_text"] = "船着場のとなり"
    hand = read_hand(msgspec.json.encode(request), DECK, "open")
    found = fall_back(builtin_game(), hand, TITLES, 1, None)
    assert check(found.answer, hand, TITLES, {"giveaway"} if found.waived else ()) == []
