"""How a model stands, as the last look and the last answers found it."""

from dataclasses import dataclass

from poem_service.engine.protocol import ModelFacts
from poem_service.errors import Reason
from poem_service.watch.ladder import ModelState
from poem_service.watch.pace import Pace


@dataclass(frozen=True, slots=True)
class Standing:
    """How the model stands; what `/ready` tells."""

    state: ModelState = ModelState.STARTING
    why_not: Reason | None = Reason.STARTING
    detail: str | None = None
    facts: ModelFacts | None = None
    pace: Pace | None = None

    def as_json(self) -> dict[str, object]:
        """For a line of log."""
        facts, pace = self.facts, self.pace
        return {
            "reason": self.why_not,
            "detail": self.detail,
            "model": facts.name if facts else None,
            "digest": facts.digest if facts else None,
            "prompt_version": facts.training.prompt_version if facts else None,
            "game": facts.training.game if facts else None,
            "tokens_per_s": pace.tokens_per_s if pace else None,
        }
