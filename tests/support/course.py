"""A course with a teacher of the test's, and questions for it."""

from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from poem.game import Game, builtin_game
from poem.hand import deal, draw_candidates
from poem_build.data.course import Course
from poem_build.data.poems import poem_asks
from poem_build.recipe.teaching import Teaching
from poem_build.teacher.gemini import Gemini
from poem_build.teacher.money import PRICES, load_prices, price_of
from poem_build.teacher.protocol import Ask, Play
from support.gemini_stand_in import KEY


def spec_of(**changed: Any) -> Teaching:
    return Teaching.model_validate({"name": "gemini", "per_minute": 60_000, "at_once": 4, "timeout_s": 5} | changed)


def course_of(url: str, room: Path, game: Game | None = None, key: str = KEY, **changed: Any) -> Course:
    """A course with the Gemini that listens there."""
    most = changed.pop("most_usd", None)
    batch = changed.pop("batch", False)
    spec, prices = spec_of(**changed), load_prices()
    price = price_of(prices, spec.model, PRICES)
    gemini = Gemini(spec, key, url, price, look_every_s=(0.01, 0.05))
    return Course(game or builtin_game(), None, room, gemini, spec, prices, price, most, batch)


def some_asks(count: int, game: Game | None = None) -> list[Ask]:
    """Questions for so many hands, the same each time."""
    deck, rng = (game or builtin_game()).deck, Random(7)
    plays = (Play(deal(deck, rng), draw_candidates(deck, rng)) for _ in range(count))
    return list(islice(poem_asks(game or builtin_game(), plays, 0), count))
