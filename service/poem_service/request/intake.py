"""The bytes of a request → a checked `Hand` of clean text. Raises `RequestError` for anything else."""

import re
import unicodedata
from typing import Annotated, Literal

import msgspec

from poem.deck import ID_MAX, TEXT_MAX, WORDINGS_MAX, Card, Deck, Wording, one_line
from poem.errors import HandError
from poem.hand import PAIRS, Hand, Pair, hand_of
from poem_service.errors import RequestError

_BODY_BYTES = 64 * 1024
NOT_A_HAND = "リクエストの形が正しくありません。カードを五枚選びなおしてください。"
UNKNOWN_CARD = "このカードは使えません。カードを選びなおしてください。"

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_MAX)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]


class SentWording(msgspec.Struct):
    """A poetic wording of a card."""

    id: _Id
    poem_text: _Text


class SentCard(msgspec.Struct):
    """A card, whole."""

    id: _Id
    category: _Text
    condition_text: _Text
    strength: Annotated[int, msgspec.Meta(ge=-6, le=5)]
    poems: Annotated[list[SentWording], msgspec.Meta(min_length=1, max_length=WORDINGS_MAX)]


class SentPair(msgspec.Struct):
    """A card, and the one of its wordings that was picked."""

    conditionCard: SentCard  # noqa: N815  (the game's own names)
    selectedPoem: SentWording  # noqa: N815


class SentHand(msgspec.Struct):
    """Five different cards, each with one of its own wordings."""

    selectedPairs: Annotated[list[SentPair], msgspec.Meta(min_length=PAIRS, max_length=PAIRS)]  # noqa: N815


class _OnlyId(msgspec.Struct):
    id: _Id


class _KnownPair(msgspec.Struct):
    conditionCard: _OnlyId  # noqa: N815
    selectedPoem: _OnlyId  # noqa: N815


class _KnownHand(msgspec.Struct):
    selectedPairs: Annotated[list[_KnownPair], msgspec.Meta(min_length=PAIRS, max_length=PAIRS)]  # noqa: N815


_OPEN = msgspec.json.Decoder(SentHand)
_KNOWN = msgspec.json.Decoder(_KnownHand)

_SPECIAL = re.compile(
    r"<[|｜][^<>]{0,60}[|｜]>|</?(?:s|bos|eos|pad|unk|mask|think|start_of_turn|end_of_turn|im_start|im_end)>"
    r"|<</?SYS>>|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]"
)
# Controls, unassigned and private characters, format characters (bidi marks, zero-width, tags) and surrogates.
_DROPPED = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})
# What is left of a special token's brackets after the tokens are gone can form no new one.
_FULL_WIDTH = str.maketrans("<>[]|", "＜＞［］｜")


def body_bytes_max(deck: Deck) -> int:
    """How many bytes a request may have: 64 KiB, or what the deck's largest hand takes, all of it escaped."""
    return max(_BODY_BYTES, sum(sorted(card.sent_bytes for card in deck.cards)[-PAIRS:]))


def read_hand(body: bytes, deck: Deck, policy: Literal["open", "known"]) -> Hand:
    """The hand in a request's body.

    `open` takes any deck's cards as sent; `known` looks the ids up in our own and ignores sent text.
    """
    try:
        if policy == "known":
            return _known(_KNOWN.decode(body), deck)
        return Hand(tuple(_pair(pair, deck) for pair in _OPEN.decode(body).selectedPairs))
    except (ValueError, RecursionError, HandError) as error:
        raise RequestError(400, NOT_A_HAND) from error


def clean(text: str) -> str:
    """The text without what could steer a model or break a line: one line, NFC, no special token.

    Raises `ValueError` if nothing is left.
    """
    visible = "".join(c for c in one_line(text) if unicodedata.category(c) not in _DROPPED)
    cleaned = " ".join(_SPECIAL.sub("", visible).translate(_FULL_WIDTH).split())
    if not cleaned:
        raise ValueError("nothing is left of a text after cleaning")
    return cleaned


def _known(sent: _KnownHand, deck: Deck) -> Hand:
    ids = [(one_line(pair.conditionCard.id), one_line(pair.selectedPoem.id)) for pair in sent.selectedPairs]
    try:
        return hand_of(deck, ids)
    except HandError as error:
        raise RequestError(400, UNKNOWN_CARD) from error


def _pair(sent: SentPair, deck: Deck) -> Pair:
    card = _card(sent.conditionCard, deck)
    wanted = sent.selectedPoem
    wording = next((w for w in card.poems if w.id == wanted.id), None)
    if wording is None:  # ids of an unknown card were cleaned
        wording = Wording(clean(wanted.id), clean(wanted.poem_text))
    elif wording.poem_text != wanted.poem_text:
        wording = Wording(wording.id, clean(wanted.poem_text))
    return Pair(card, wording)


def _card(sent: SentCard, deck: Deck) -> Card:
    """Our own card, which knows its terms, if that is what was sent; otherwise what was sent, cleaned.

    One that is sent unchanged is spared the cleaning.
    """
    ours = deck.by_id.get(sent.id)
    if ours is not None and _same(sent, ours):
        return ours
    poems = tuple(Wording(clean(poem.id), clean(poem.poem_text)) for poem in sent.poems)
    cleaned = Card(clean(sent.id), clean(sent.category), clean(sent.condition_text), sent.strength, poems)
    ours = deck.by_id.get(cleaned.id)
    return ours if ours is not None and ours == cleaned else cleaned


def _same(sent: SentCard, ours: Card) -> bool:
    return (
        sent.condition_text == ours.condition_text
        and sent.category == ours.category
        and sent.strength == ours.strength
        and [(poem.id, poem.poem_text) for poem in sent.poems] == [(w.id, w.poem_text) for w in ours.poems]
    )
