"""What the game can refuse.

PoemError
├── DeckError         a deck file, or the game's own word files, break the deck's shape
├── HandError         five pairs that are not a hand
├── TableError        a table file, or an entry of one, is no good
└── CompositionError  no composition keeps the shape, whatever rule is waived
"""


class PoemError(Exception):
    """Base of every error of this package; the message names the place, the rule and the remedy."""


class DeckError(PoemError):
    """A deck file is not what the game expects."""


class HandError(PoemError):
    """The pairs given are not five distinct cards with one of their own wordings each."""


class TableError(PoemError):
    """A table file cannot be read or written, or an entry breaks a rule."""


class CompositionError(PoemError):
    """The composer found no poem of the right shape; the built-in word files rule this out."""
