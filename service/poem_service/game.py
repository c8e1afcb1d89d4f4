"""The settings → the game that is dealt: a folder, its two files alone, or the built-in one."""

from poem.game import Game, load_files, load_game
from poem_service.settings import Settings, blaming


def game_of(settings: Settings) -> Game:
    """The game that the settings name. Raises `SettingsError` naming variable, file, entry and remedy."""
    if settings.game:
        with blaming("POEM_GAME"):
            return load_game(settings.game)
    files = {"POEM_DECK": settings.deck, "POEM_CATCHPHRASES": settings.catchphrases}
    with blaming(*(name for name, path in files.items() if path)):
        return load_files(*files.values())
