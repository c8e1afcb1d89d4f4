"""The environment, read once → `Settings`; a bad value stops the start with its name, value and what is allowed."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from poem_service.errors import SettingsError

EngineName = Literal["auto", "ollama", "embedded", "openai", "none"]
Number = TypeVar("Number", int, float)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service was told; the defaults are those of the README's table."""

    port: int = 3001
    host: str = "127.0.0.1"
    engine: EngineName = "auto"
    ollama_url: str = "http://127.0.0.1:11434"
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
    log_db: Path | None = None
    game_dist: Path | None = None
    game_sources: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_active: int = 1
    gpu: Literal["any", "expected"] = "any"
    openai_url: str | None = None
    openai_key: str | None = field(default=None, repr=False)
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    rate_limit: int | None = None
    trusted_proxies: tuple[Network, ...] = ()
    workers: int = 1

    @property
    def policy(self) -> Literal["model", "table", "auto"]:
        """Who writes first; a stand that deals what is prepared wants it to be seen."""
        return self.writer or ("auto" if self.deal == "prepared" else "model")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Settings from the environment; an empty variable counts as not set. Raises `SettingsError`."""
        values: dict[str, Any] = {}
        for name, (target, parse, allowed) in VARIABLES.items():
            text = environ.get(name, "").strip()
            if text:
                try:
                    values[target] = parse(text)
                except ValueError:
                    shown = "(not shown)" if name in SECRETS else repr(text)
                    raise SettingsError(f"{name}: {shown} is not allowed; give {allowed}") from None
        settings = cls(**values)
        if settings.engine == "embedded" and settings.gguf is None:
            raise SettingsError("POEM_GGUF: not set; POEM_ENGINE=embedded needs the path of a GGUF file")
        if settings.game and (settings.deck or settings.catchphrases):
            raise SettingsError("POEM_GAME: is set beside POEM_DECK or POEM_CATCHPHRASES; give the folder or the files")
        if settings.engine == "openai" and settings.openai_url is None:
            raise SettingsError("POEM_OPENAI_URL: not set; POEM_ENGINE=openai needs the server's http or https URL")
        if settings.max_active > 1 and (settings.engine == "embedded" or (settings.engine == "auto" and settings.gguf)):
            raise SettingsError(
                f"POEM_MAX_ACTIVE: {settings.max_active} is for POEM_ENGINE=ollama and openai; the embedded engine "
                "(POEM_GGUF) writes one poem at a time: give 1"
            )
        if settings.workers > 1 and settings.engine != "none":
            if settings.engine == "embedded" or (settings.engine == "auto" and settings.gguf):
                raise SettingsError(
                    f"POEM_WORKERS: {settings.workers} would each load the model; give 1 with the embedded engine"
                )
            if settings.max_active < settings.workers:
                raise SettingsError(
                    f"POEM_WORKERS: {settings.workers} workers share POEM_MAX_ACTIVE={settings.max_active}; "
                    "give no more workers than that, or POEM_ENGINE=none"
                )
        return settings


def _port(text: str) -> int:
    return _within(int(text), 1, 65535)


def _deadline(text: str) -> float:
    return _within(float(text), 1.0, 85.0)


def _active(text: str) -> int:
    return _within(int(text), 1, 1024)


def _rate(text: str) -> int:
    return _within(int(text), 1, 100_000)


def _workers(text: str) -> int:
    return _within(int(text), 1, 64)


def _within(value: Number, low: Number, high: Number) -> Number:
    if not low <= value <= high:
        raise ValueError(value)
    return value


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", text):
        raise ValueError(text)
    return text


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return parse


def _model(text: str) -> str:
    if not re.fullmatch(r"[^\s\x00-\x1f\x7f]{1,300}", text):
        raise ValueError(text)
    return text


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(text)
    return path


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not (path / "index.html").is_file():
        raise ValueError(text)
    return path


def _game(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise ValueError(text)
    return path


def _new_file(text: str) -> Path:
    path = Path(text).expanduser()
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(text)
    return path


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(text)
    _ = parts.port  # raises ValueError for a port that is no number
    return text.rstrip("/")


def ollama_url(text: str) -> str:
    """The forms that Ollama itself takes: `host`, `host:port`, `:port`, a URL; 0.0.0.0 means this machine."""
    scheme, _, rest = text.rpartition("://")
    scheme = scheme.lower()
    rest = rest.rstrip("/")
    if rest.startswith(":"):
        rest = f"127.0.0.1{rest}"
    parts = urlsplit(_url(f"{scheme or 'http'}://{rest}"))
    host = "127.0.0.1" if parts.hostname == "0.0.0.0" else str(parts.hostname)
    host = f"[{host}]" if ":" in host else host
    user, at, _ = parts.netloc.rpartition("@")
    port = parts.port or {"": 11434, "http": 80, "https": 443}[scheme]
    return f"{parts.scheme}://{user}{at}{host}:{port}{parts.path}"


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(entry.strip() for entry in text.split(",") if entry.strip())
    for origin in origins:
        if origin != "*" and urlsplit(_url(origin)).path:
            raise ValueError(origin)
    return origins


def _sources(text: str) -> tuple[str, ...]:
    sources = tuple(entry.strip().rstrip("/") for entry in text.split(",") if entry.strip())
    for source in sources:
        if not re.fullmatch(r"(?:https?|wss?)://(?:\*\.)?[A-Za-z0-9.-]+(?::[0-9]{1,5})?", source):
            raise ValueError(source)
    return sources


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(entry.strip(), strict=False) for entry in text.split(",") if entry.strip())


def _key(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{8,512}", text):
        raise ValueError
    return text


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(_key(key) for key in re.split(r"[,\s]+", text) if key)
    if not 1 <= len(keys) <= 2:
        raise ValueError
    return keys


SECRETS = frozenset({"POEM_API_KEY", "POEM_OPENAI_KEY"})

# Name → field, parser, what is allowed. The README's table is compared with this one by a test.
VARIABLES: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "POEM_PORT": ("port", _port, "a port from 1 to 65535"),
    "POEM_HOST": ("host", _host, "an address or a host name to listen on"),
    "POEM_ENGINE": (
        "engine",
        _choice("auto", "ollama", "embedded", "openai", "none"),
        "auto, ollama, embedded, openai or none",
    ),
    "OLLAMA_HOST": ("ollama_url", ollama_url, "host, host:port or an http or https URL"),
    "POEM_MODEL": ("model", _model, "a model's name as its server lists it, without blanks"),
    "POEM_GGUF": ("gguf", _file, "the path of a GGUF file that is there"),
    "POEM_DEADLINE_S": ("deadline_s", _deadline, "seconds from 1 to 85 (the game gives up after 90)"),
    "POEM_GAME": ("game", _game, "a folder that holds a game's cards.json and catchphrases.json"),
    "POEM_DECK": ("deck", _file, "the path of a cards.json that is there"),
    "POEM_CATCHPHRASES": ("catchphrases", _file, "the path of a catchphrases.json that is there"),
    "POEM_DECK_POLICY": ("deck_policy", _choice("open", "known"), "open or known"),
    "POEM_WRITER": (
        "writer",
        _choice("model", "table", "auto"),
        "model, table (a poem of the table first) or auto (one by hand first, then who writes better); "
        "auto with POEM_DEAL=prepared",
    ),
    "POEM_DEAL": ("deal", _choice("any", "prepared"), "any, or prepared: only card sets that the table holds"),
    "POEM_TABLE": ("table", _file, "the path of a table file that is there"),
    "POEM_LOG_DB": ("log_db", _new_file, "a file path in a folder that is there"),
    "POEM_GAME_DIST": ("game_dist", _folder, "a folder that holds an index.html"),
    "POEM_GAME_SOURCES": (
        "game_sources",
        _sources,
        "origins such as https://fonts.gstatic.com that the game's own files may load from, comma-separated",
    ),
    "POEM_ALLOWED_ORIGINS": ("allowed_origins", _origins, "origins such as https://example.jp, comma-separated, or *"),
    "POEM_MAX_ACTIVE": ("max_active", _active, "a whole number from 1 to 1024"),
    "POEM_GPU": ("gpu", _choice("any", "expected"), "any, or expected: a model without a GPU is then reported as lost"),
    "POEM_OPENAI_URL": ("openai_url", _url, "an http or https URL"),
    "POEM_OPENAI_KEY": ("openai_key", _key, "8 to 512 visible ASCII characters"),
    "POEM_API_KEY": (
        "api_keys",
        _keys,
        "8 to 512 visible ASCII characters but the comma; two keys, comma-separated, while they change",
    ),
    "POEM_RATE_LIMIT": ("rate_limit", _rate, "poems per minute and address, from 1 to 100000"),
    "POEM_TRUSTED_PROXIES": ("trusted_proxies", _networks, "addresses or networks such as 10.0.0.0/8, comma-separated"),
    "POEM_WORKERS": ("workers", _workers, "processes from 1 to 64 that share the port and POEM_MAX_ACTIVE"),
}
