"""A poem within the rules and its hand → points of 100, as far as they can be counted.

The game's rubric is concealment 40, unity 20, voice 15, what is forbidden 15, length 10. Unity takes a reader; the
other 80 points are counted here and stretched to 100. The rules have seen to the last two.
"""

from poem.hand import Hand
from poem_build.evaluation.concealment import told_by_lemma
from poem_build.judge.delivery import sentences

RUBRIC = {"concealment": 40, "unity": 20, "voice": 15, "forbidden": 15, "length": 10}
"""Points by what they are given for."""


def points(hand: Hand, poem: str) -> float:
    """What the poem is worth."""
    hidden = 1 - len(told_by_lemma(hand, poem)) / len(hand.pairs)
    found = RUBRIC["concealment"] * hidden + RUBRIC["voice"] * sentences([poem]).share
    return (found + RUBRIC["forbidden"] + RUBRIC["length"]) * 100 / (100 - RUBRIC["unity"])
