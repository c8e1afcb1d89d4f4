"""Each variable of the environment: its setting, how its text is read, and what is allowed in words."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from poem.environment import address_of, host_of, narrow, ollama_url, server_url

EngineName = Literal["auto", "ollama", "embedded", "openai", "none"]
Number = TypeVar("Number", int, float)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _port(text: str) -> int:
    return _within(int(text), 1, 65535)


def _deadline(text: str) -> float:
    return _within(float(narrow(text)), 1.0, 85.0)


def _active(text: str) -> int:
    return _within(int(text), 1, 1024)


def _rate(text: str) -> int:
    return _within(int(text), 1, 100_000)


def _workers(text: str) -> int:
    return _within(int(text), 1, 64)


def _layers(text: str) -> int:
    return ALL_LAYERS if narrow(text).lower() == "all" else _within(int(text), 0, 10_000)


def _within(value: Number, low: Number, high: Number) -> Number:
    if not low <= value <= high:
        raise ValueError(value)
    return value


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if (found := narrow(text).lower()) not in allowed:
            raise ValueError(text)
        return found

    return parse


def _model(text: str) -> str:
    if not re.fullmatch(r"[^\s\x00-\x1f\x7f]{1,300}", text):
        raise ValueError(text)
    return text


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # the home of nobody
        raise ValueError(text) from error


def _file(text: str) -> Path:
    path = _path(text)
    if not path.is_file():
        raise ValueError(text)
    path.open("rb").close()  # may we read it?
    return path


def _folder(text: str) -> Path:
    path = _path(text)
    _file(str(path / "index.html"))
    return path


def _game(text: str) -> Path:
    path = _path(text)
    if not path.is_dir():
        raise ValueError(text)
    next(path.iterdir(), None)  # may we look into it?
    return path


def _new_file(text: str) -> Path:
    path = _path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(text)
    return path


def _log(text: str) -> Path | str:
    if text == STDOUT or re.fullmatch(r"postgres(?:ql)?://[^\s]+", text):
        return text
    return _new_file(text)


def _entries(text: str) -> list[str]:
    return [entry for entry in re.split(r"[,\s]+", narrow(text)) if entry]


def _origins(text: str) -> tuple[str, ...]:
    return tuple(map(_origin, _entries(text)))


def _origin(text: str) -> str:
    """As a browser sends it: in lower case, a name of other letters as `xn--…`, without the scheme's own port."""
    if text == "*":
        return text
    parts = urlsplit(server_url(text))
    if parts.path or "@" in parts.netloc:
        raise ValueError(text)
    host = parts.netloc.encode("idna").decode() if "[" not in parts.netloc else parts.netloc
    return f"{parts.scheme}://{host.removesuffix({'http': ':80', 'https': ':443'}[parts.scheme])}"


def _sources(text: str) -> tuple[str, ...]:
    sources = tuple(entry.rstrip("/").lower() for entry in _entries(text))
    for source in sources:
        if not re.fullmatch(r"(?:https?|wss?)://(?:\*\.)?[a-z0-9.-]+(?::[0-9]{1,5})?", source):
            raise ValueError(source)
    return sources


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(map(_network, _entries(text)))


def _network(text: str) -> Network:
    if (address := address_of(text)) is not None:
        return ipaddress.ip_network(address)
    network = ipaddress.ip_network(text.rstrip("/"), strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return network if mapped is None else ipaddress.ip_network((mapped, max(0, network.prefixlen - 96)))


@dataclass(frozen=True, slots=True)
class Listed:
    """One of several engines."""

    kind: Literal["ollama", "openai", "embedded"]
    where: str = field(repr=False)
    """A URL, which may hold a password, or the path of a GGUF file."""
    model: str | None = None
    share: float = 0.0
    """Of the hands, if it is a canary."""


_LISTED = re.compile(r"(?:(\d{1,2})%:)?(ollama|openai|embedded)=([^#]+)(?:#(.+))?")


_WHERE: dict[str, Callable[[str], str]] = {
    "ollama": ollama_url,
    "openai": server_url,
    "embedded": lambda path: str(_file(path)),
}


def _engines(text: str) -> tuple[Listed, ...]:
    found = tuple(map(_listed, re.split(r"[,\s]+", text.strip(", \t\r\n"))))
    if len(set(found)) < len(found) or all(one.share for one in found) or sum(one.share for one in found) >= 1:
        raise ValueError(text)
    return found


def _listed(text: str) -> Listed:
    if not (match := _LISTED.fullmatch(text)):
        raise ValueError(text)
    percent, where, model = match.group(1, 3, 4)
    kind: Any = match[2]
    if (percent is not None and not int(percent)) or (kind == "embedded" and model):
        raise ValueError(text)
    return Listed(kind, _WHERE[kind](where), model and _model(model), int(percent or 0) / 100)


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
URLS = frozenset({"OLLAMA_HOST", "POEM_OPENAI_URL"})
STDOUT = "-"
ONE_ENGINE = frozenset({"POEM_ENGINE", "OLLAMA_HOST", "POEM_OPENAI_URL", "POEM_GGUF"})
"""Say where the one engine is; where several are listed they have no effect."""
ALL_LAYERS = -1

# With which engines a variable has any effect; those that are not named have one with each.
ENGINES_OF: dict[str, tuple[EngineName, ...]] = {
    "POEM_GGUF": ("auto", "embedded"),
    "POEM_GPU_LAYERS": ("auto", "embedded"),
    "POEM_OPENAI_URL": ("openai",),
    "POEM_OPENAI_KEY": ("openai",),
}

# Name → field, parser, what is allowed. The README's table is compared with this one by a test.
VARIABLES: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "POEM_PORT": ("port", _port, "a port from 1 to 65535"),
    "POEM_HOST": ("host", host_of, "an address or a host name to listen on"),
    "POEM_ENGINE": (
        "engine",
        _choice("auto", "ollama", "embedded", "openai", "none"),
        "auto, ollama, embedded, openai or none",
    ),
    "OLLAMA_HOST": ("ollama_url", ollama_url, "host, host:port or an http or https URL"),
    "POEM_ENGINES": (
        "engines",
        _engines,
        "several engines, comma-separated: ollama=URL, openai=URL or embedded=FILE, each with #MODEL where it is not "
        "POEM_MODEL, and with a share such as 10%: before a canary, 99% in all; POEM_MAX_ACTIVE is each one's",
    ),
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
    "POEM_LOG_DB": (
        "log_db",
        _log,
        "a file path in a folder that is there; a postgresql:// URL; or - for JSON lines on standard output",
    ),
    "POEM_GAME_DIST": ("game_dist", _folder, "a folder that holds an index.html"),
    "POEM_GAME_SOURCES": (
        "game_sources",
        _sources,
        "origins such as https://fonts.gstatic.com that the game's own files may load from, comma-separated",
    ),
    "POEM_ALLOWED_ORIGINS": ("allowed_origins", _origins, "origins such as https://example.jp, comma-separated, or *"),
    "POEM_MAX_ACTIVE": ("max_active", _active, "a whole number from 1 to 1024"),
    "POEM_GPU": ("gpu", _choice("any", "expected"), "any, or expected: a model without a GPU is then reported as lost"),
    "POEM_GPU_LAYERS": (
        "gpu_layers",
        _layers,
        "how many of the embedded model's layers go on the GPU, or all; all where llama.cpp was built for one",
    ),
    "POEM_OPENAI_URL": ("openai_url", server_url, "an http or https URL"),
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
