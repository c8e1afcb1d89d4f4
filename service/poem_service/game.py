"""The settings → the game that is dealt: a folder, its two files alone, or the built-in one."""

from poem.game import Game, builtin_game, load_files, load_game
from poem_service.settings import Settings


def game_of(settings: Settings) -> Game:
    """The game that the settings name. Raises `GameError` naming the file, the entry and the remedy."""
    if settings.game:
        return load_game(settings.game)
    if settings.deck or settings.catchphrases:
        return load_files(settings.deck, settings.catchphrases)
    return builtin_game()
