"""The environment, read once → `Settings`; a bad value stops the start with its name, value and what is allowed."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from poem.environment import HIDDEN, OLLAMA_URL, meant, without_password, without_passwords
from poem.errors import PoemError
from poem_service.errors import SettingsError
from poem_service.variables import ENGINES_OF, ONE_ENGINE, SECRETS, STDOUT, URLS, VARIABLES, EngineName, Listed, Network


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service was told; the defaults are those of the README's table."""

    port: int = 3001
    host: str = "127.0.0.1"
    engine: EngineName = "auto"
    ollama_url: str = field(default=OLLAMA_URL, repr=False)  # a URL may hold a password
    engines: tuple[Listed, ...] = field(default=(), repr=False)
    model: str = "mansion-poem:latest"
    gguf: Path | None = None
    deadline_s: float = 60.0
    game: Path | None = None
    deck: Path | None = None
    catchphrases: Path | None = None
    deck_policy: Literal["open", "known"] = "open"
    writer: Literal["model", "table", "auto"] | None = None
    deal: Literal["any", "prepared"] = "any"
    table: Path | None = None
    log_db: Path | str | None = field(default=None, repr=False)
    """A SQLite file, `-` for standard output, or a PostgreSQL URL, which may hold a password."""
    game_dist: Path | None = None
    game_sources: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_active: int = 1
    gpu: Literal["any", "expected"] = "any"
    gpu_layers: int | None = None
    openai_url: str | None = field(default=None, repr=False)
    openai_key: str | None = field(default=None, repr=False)
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    rate_limit: int | None = None
    trusted_proxies: tuple[Network, ...] = ()
    workers: int = 1
    idle: tuple[str, ...] = field(default=(), compare=False)
    """Variables that are set and that the engine has no use for."""

    @property
    def embeds(self) -> bool:
        """Whether the embedded engine may serve."""
        return self.engine == "embedded" or (self.engine == "auto" and self.gguf is not None)

    @property
    def chosen(self) -> str:
        """What names the engine or the engines."""
        return "POEM_ENGINES" if self.engines else f"POEM_ENGINE={self.engine}"

    def each(self) -> list["Settings"]:
        """For each engine the settings as if it were the only one."""
        return [self._of(listed) for listed in self.engines] or [self]

    def _of(self, listed: Listed) -> "Settings":
        places: dict[str, dict[str, Any]] = {
            "ollama": {"ollama_url": listed.where},
            "openai": {"openai_url": listed.where},
            "embedded": {"gguf": Path(listed.where), "max_active": 1},
        }
        return replace(self, engine=listed.kind, engines=(), model=listed.model or self.model, **places[listed.kind])

    @property
    def policy(self) -> Literal["model", "table", "auto"]:
        """Who writes first; a stand that deals what is prepared wants it to be seen."""
        return self.writer or ("auto" if self.deal == "prepared" else "model")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Settings from the environment; an empty variable counts as not set. Raises `SettingsError`."""
        values: dict[str, Any] = {}
        for name, (target, parse, allowed) in VARIABLES.items():
            if text := meant(environ.get(name, "")):
                try:
                    values[target] = parse(text)
                except (ValueError, OSError) as error:
                    why = getattr(error, "strerror", None) or "is not allowed"
                    raise SettingsError(f"{name}: {_shown(name, text)} {why}; give {allowed}") from None
        given = [name for name, (target, _, _) in VARIABLES.items() if target in values]
        settings = cls(**values)
        for one in settings.each():
            for name, why in one._contradictions():
                raise SettingsError(f"{name}: {why}")
        return replace(settings, idle=tuple(filter(settings._is_idle, given)))

    def _is_idle(self, name: str) -> bool:
        if self.engines and name in ONE_ENGINE:
            return True
        return all(one.engine not in ENGINES_OF.get(name, (one.engine,)) for one in self.each())

    def _contradictions(self) -> Iterator[tuple[str, str]]:
        """Values that are good each and not together: the variable to change, and why."""
        if self.engine == "embedded" and self.gguf is None:
            yield "POEM_GGUF", "not set; POEM_ENGINE=embedded needs the path of a GGUF file"
        if self.log_db == STDOUT and self.workers > 1:
            yield (
                "POEM_LOG_DB",
                f"- has no room for the lines of {self.workers} workers; give a file, or POEM_WORKERS=1",
            )
        if isinstance(self.log_db, str) and self.log_db != STDOUT and importlib.util.find_spec("psycopg") is None:
            yield "POEM_LOG_DB", "psycopg is not installed; install mansion-poem[postgresql], or give a file"
        if self.game and (self.deck or self.catchphrases):
            yield "POEM_GAME", "is set beside POEM_DECK or POEM_CATCHPHRASES; give the folder or the files"
        if self.engine == "openai" and self.openai_url is None:
            yield "POEM_OPENAI_URL", "not set; POEM_ENGINE=openai needs the server's http or https URL"
        if self.gpu == "expected" and self.engine in ("openai", "none"):
            yield "POEM_GPU", f"expected cannot be looked after with POEM_ENGINE={self.engine}; give any"
        if self.gpu == "expected" and self.embeds and self.gpu_layers == 0:
            yield "POEM_GPU_LAYERS", "0 puts nothing on the GPU that POEM_GPU expects; give all, or POEM_GPU=any"
        if self.max_active > 1 and self.embeds:
            yield (
                "POEM_MAX_ACTIVE",
                f"{self.max_active} is for POEM_ENGINE=ollama and openai; the embedded engine "
                "(POEM_GGUF) writes one poem at a time: give 1",
            )
        if self.workers > 1 and self.embeds:
            yield "POEM_WORKERS", f"{self.workers} would each load the model; give 1 with the embedded engine"
        if self.workers > self.max_active and self.engine != "none":
            yield (
                "POEM_WORKERS",
                f"{self.workers} workers share POEM_MAX_ACTIVE={self.max_active}; "
                "give no more workers than that, or POEM_ENGINE=none",
            )


@contextmanager
def blaming(*names: str) -> Iterator[None]:
    """What is wrong with a file is a `SettingsError` that begins with the variables which name it."""
    try:
        yield
    except PoemError as error:
        raise SettingsError(f"{', '.join(names)}: {error}") from error


def _shown(name: str, text: str) -> str:
    """A value as a message may show it."""
    if name in SECRETS:
        return HIDDEN
    return repr(without_password(text) if name in URLS else without_passwords(text))
