"""A game's categories → the five groups that its hands are balanced by.

`groups.json` in the game's folder says it, `{category: group}`; what it leaves out is guessed from the category's name,
then from its cards' texts.
"""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Literal, get_args

from poem.deck import Card, Deck
from poem.errors import GameError
from poem.files import read_json

Group = Literal["access", "building", "surroundings", "management", "other"]
GROUPS: tuple[Group, ...] = get_args(Group)
FILE = "groups.json"

_WORDS: Mapping[Group, tuple[str, ...]] = {
    "access": ("交通", "アクセス", "立地", "駅", "徒歩", "バス", "通勤", "坂", "路線"),
    "other": ("コンセプト", "災害", "ハザード"),
    "surroundings": (
        "周辺",
        "環境",
        "近隣",
        "眺",
        "音",
        "騒",
        "におい",
        "匂",
        "隣",
        "日当",
        "採光",
        "空気",
        "店",
        "治安",
    ),
    "management": ("共用", "管理", "規約", "費", "修繕", "組合", "ルール", "防犯", "契約", "家賃", "金", "暮らし"),
    "building": (
        "建物",
        "構造",
        "築",
        "間取",
        "設備",
        "内装",
        "室内",
        "部屋",
        "収納",
        "水回",
        "階",
        "広さ",
        "床",
        "壁",
    ),
}


def groups_of(deck: Deck, folder: Path | None) -> tuple[dict[str, Group], tuple[str, ...]]:
    """The group of each category, and the categories whose group was guessed.

    Raises `GameError` for a map that names what there is not.
    """
    path = folder / FILE if folder else None
    said = read_json(path) if path and path.is_file() else {}
    if not isinstance(said, dict):
        raise GameError(f"{path}: must be a JSON object of groups by category")
    for category, group in said.items():
        if category not in deck.categories:
            raise GameError(f"{path}: {category}: the deck has no such category; remove it")
        if group not in GROUPS:
            raise GameError(f"{path}: {category}: {group!r} is no group; groups are {', '.join(GROUPS)}")
    guessed = tuple(category for category in deck.categories if category not in said)
    return {**said, **{category: _guess(category, deck.categories[category]) for category in guessed}}, guessed


def shown(groups: Mapping[str, Group], guessed: Container[str]) -> dict[str, str]:
    """The group of each category, in words: `access (guessed)`."""
    return {name: f"{group} (guessed)" if name in guessed else group for name, group in groups.items()}


def _guess(category: str, cards: tuple[Card, ...]) -> Group:
    for text in (category, "\n".join(card.condition_text for card in cards)):
        score = {group: sum(text.count(word) for word in words) for group, words in _WORDS.items()}
        best = max(score, key=lambda group: score[group])
        if score[best]:
            return best
    return "other"
