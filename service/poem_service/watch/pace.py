"""How long answers took → how long the next will take."""

from dataclasses import dataclass

ANSWER_TOKENS = 240
"""Of a long answer, until real answers tell."""
_WEIGHT = 0.2
"""Of the newest answer in the running mean."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the model is."""

    first_s: float
    piece_s: float
    answer_s: float
    alone_first_s: float
    """The first piece when nobody else was at the server."""

    @property
    def tokens_per_s(self) -> float | None:
        return round(1 / self.piece_s, 1) if self.piece_s > 0 else None

    def mixed(self, first_s: float | None, tokens: int, seconds: float) -> "Pace":
        """This pace, moved towards a whole answer; one that came in one piece may not tell its first."""
        answer_s = _mix(self.answer_s, seconds)
        if first_s is None or tokens < 2:
            return Pace(self.first_s, self.piece_s, answer_s, self.alone_first_s)
        piece_s = (seconds - first_s) / (tokens - 1)
        return Pace(_mix(self.first_s, first_s), _mix(self.piece_s, piece_s), answer_s, self.alone_first_s)


def pace_of_trial(first_s: float, tokens: int, seconds: float) -> Pace:
    """From an answer that was only begun."""
    piece_s = (seconds - first_s) / max(1, tokens - 1)
    return Pace(first_s, piece_s, first_s + ANSWER_TOKENS * piece_s, first_s)


def _mix(old: float, new: float) -> float:
    return (1 - _WEIGHT) * old + _WEIGHT * new
