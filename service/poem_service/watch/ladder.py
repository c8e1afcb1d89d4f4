"""Where a request stands → its next step. Pure: the clock, the model and the queue are told, not asked.

Every step leaves a reserve for the table and the composer, so no model, however slow, eats their time.
"""

from dataclasses import dataclass
from enum import StrEnum

from poem_service.errors import Reason

RESERVE_MIN_S = 0.5
RESERVE_SHARE = 0.05
ATTEMPTS_MAX = 3
FIRST_MIN_S, GAP_MIN_S, WHOLE_MIN_S = 5.0, 3.0, 8.0
"""Silence that is borne in any case: a busy machine is no dead one."""
WORTH_ANOTHER = frozenset({Reason.LOST, Reason.INCOMPLETE, Reason.MALFORMED, Reason.RULES})
"""What may well go right with a fresh seed or a fresh connection."""


def reserve_s(deadline_s: float) -> float:
    """Kept back for the fallback, which takes milliseconds, and for what else a starved machine is busy with."""
    return max(RESERVE_MIN_S, RESERVE_SHARE * deadline_s)


class ModelState(StrEnum):
    """How the model stands; only a ready one is asked."""

    STARTING = "starting"
    ABSENT = "absent"
    LOADING = "loading"
    TRIAL = "trial"
    SUSPECT = "suspect"
    TOO_SLOW = "too-slow"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the next step depends on."""

    remaining_s: float
    """Until what is kept back for the fallback begins."""
    obstacle: Reason | None
    """Why nobody asks the model now; None if they may."""
    answer_s: float
    """What an answer takes, as measured."""
    holds_slot: bool
    ahead: int
    """Requests at the model or waiting for it."""
    slots: int
    attempts: int = 0
    failure: Reason | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a slot, at most this long."""

    limit_s: float


@dataclass(frozen=True, slots=True)
class AskModel:
    """Ask the model, for at most this long."""

    limit_s: float


@dataclass(frozen=True, slots=True)
class FallBack:
    """Answer from the table or the composer."""

    reason: Reason


Step = Wait | AskModel | FallBack


def next_step(at: Situation) -> Step:
    """Wait, ask, or fall back and why."""
    if at.obstacle is Reason.STOPPING:
        return FallBack(at.obstacle)
    if at.failure is not None and (at.attempts >= ATTEMPTS_MAX or at.failure not in WORTH_ANOTHER):
        return FallBack(at.failure)
    if at.obstacle is not None:
        return FallBack(at.failure or at.obstacle)
    room = at.remaining_s
    if not at.holds_slot:
        before = at.answer_s * (at.ahead // at.slots)
        if before + at.answer_s > room:
            return FallBack(Reason.BUSY if at.ahead >= at.slots else Reason.TOO_SLOW)
        return Wait(room - at.answer_s)
    if at.answer_s > room:
        return FallBack(at.failure or Reason.BUSY)
    return AskModel(room)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long silence is borne: before the first piece, between two, and for an answer that comes in one."""

    first_s: float
    gap_s: float
    whole_s: float


def patience(first_s: float, piece_s: float, answer_s: float) -> Patience:
    """From the measured pace: a model that is this much slower than it was is stuck, not thinking."""
    return Patience(max(FIRST_MIN_S, 10 * first_s), max(GAP_MIN_S, 50 * piece_s), max(WHOLE_MIN_S, 3 * answer_s))
