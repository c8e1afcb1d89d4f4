"""Sheets of writers without a model: the composer, and poems by hand."""

from pathlib import Path

import pytest

from poem.game import builtin_game
from poem_build.evaluation.answers import Sheet, play
from poem_build.evaluation.hands import Trial, trials
from poem_build.evaluation.writers import Composed, Given

GAME = builtin_game()


@pytest.fixture(scope="package")
def there() -> list[Trial]:
    return trials(GAME, 24)


@pytest.fixture(scope="package")
def sheets(there: list[Trial], tmp_path_factory: pytest.TempPathFactory) -> list[Sheet]:
    """Of the composer, and of those who wrote by hand."""
    room: Path = tmp_path_factory.mktemp("sheets")
    return [play("composer", Composed(GAME), there, room), play("hand", Given("hand"), there, room)]
