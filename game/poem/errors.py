"""What the game can refuse.

PoemError
├── GameError         a game's folder, or a file in it, cannot be read
│   └── DeckError     cards or catch-copies that no hand can be dealt from
├── HandError         five pairs that are not a hand
├── TableError        a table file, or an entry of one, is no good
└── CompositionError  no title candidates, or no sentences that fit the shape
"""


class PoemError(Exception):
    """Base of every error of this package; the message names the place, the rule and the remedy."""


class GameError(PoemError):
    """A game's folder or one of its files cannot be read, or says something that cannot be."""


class DeckError(GameError):
    """Cards or catch-copies that no hand can be dealt from."""


class HandError(PoemError):
    """The pairs given are not five distinct cards with one of their own wordings each."""


class TableError(PoemError):
    """A table file cannot be read or written, or an entry breaks a rule."""


class CompositionError(PoemError):
    """No title candidates were given, or no sentences of the word files fit the shape."""
