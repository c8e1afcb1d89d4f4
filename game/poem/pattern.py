"""A hand → its pattern key, by which the table and the log name it."""

import hashlib
import json

from poem.hand import Hand


def pattern_key(hand: Hand) -> str:
    """64 hex digits: SHA-256 of the hand's [card id, wording id] pairs.

    The pairs are sorted, so the player's order does not matter, and written as one compact JSON list in
    UTF-8: `[["access-01","access-01-a"],["air-02","air-02-c"],…]`.
    """
    text = json.dumps(sorted(hand.ids()), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
