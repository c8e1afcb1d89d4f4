"""A poem and how it came to be: what the counters, the log and the answer's headers tell."""

from dataclasses import dataclass, field
from typing import Literal

from poem.hand import Answer, Hand
from poem.prompt import Prompt
from poem_service.errors import Reason

Source = Literal["model", "table", "composed"]


@dataclass(slots=True)
class Outcome:
    """A poem and how it came to be."""

    hand: Hand
    answer: Answer
    source: Source
    seed: int
    seconds: float
    reason: Reason | None = None
    engine: str | None = None
    model: str | None = None
    prompt: Prompt | None = None
    reasoning: str | None = None
    request_id: str | None = None
    stages: dict[str, float] = field(default_factory=dict)
