"""A game → a report on its composer beside the poems by hand, which needs no model and no artifacts."""

import time
from datetime import UTC, datetime
from importlib import metadata

from poem.game import Game
from poem_build.evaluation import hands
from poem_build.evaluation.another import local_report
from poem_build.evaluation.assemble import measured_outcome
from poem_build.evaluation.hands import BY_HAND
from poem_build.evaluation.names import COMPOSER
from poem_build.evaluation.report import MODEL, Evaluation, Provenance
from poem_build.evaluation.writers import Composed, Given
from poem_build.recipe.schema import Recipe


def of_composer(recipe: Recipe, game: Game, count: int, device: str) -> Evaluation:
    """What `eval` would say of the composer by the recipe's gates, on so many of the same hands."""
    start = time.monotonic()
    there = hands.trials(game, count)
    report = local_report(game, there, {MODEL: Composed(game), BY_HAND: Given(BY_HAND)}, device)
    return Evaluation(
        verdict=measured_outcome(recipe, report),
        provenance=Provenance(
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - start, 3),
            recipe=COMPOSER,
            params="",
            base="",
            licence="",
            game=game.name,
            game_digest=game.deck.digest,
            prompt_version=game.prompt_version,
            hands=report.hands,
            hands_version=report.hands_version,
            teacher="",
            gguf="",
            steps=0,
            device=device,
            packages={"mansion-poem": metadata.version("mansion-poem")},
            judges=report.judges,
            cost_usd=0.0,
        ),
        **report.measured(),
        losses=None,
        quantized=[],
        former=None,
    )
