"""A value of the environment as people write it → what they mean. Service, build stage and stack read values here.

Understood as Ollama and Compose understand them, and as input methods, editors and `docker run --env-file`, which
strips nothing, leave them.
"""

import ipaddress
import re
import unicodedata
from urllib.parse import quote, urlsplit

HIDDEN = "(not shown)"
OLLAMA_URL = "http://127.0.0.1:11434"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "＂": "＂", "＇": "＇"}
_MARKS = "\ufeff\u200b\u2060"
"""A byte order mark and what else nobody sees."""
_COMMENT = re.compile(r"(?:^|\s+)#(?:\s.*)?$|\s+#.*$", re.DOTALL)
_HOST = re.compile(r"[\w.-]{1,253}")
_PORTS = {"": 11434, "http": 80, "https": 443}
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on, and where who listens there is met on this machine."""
_BESIDE = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_USER_IN_TEXT = re.compile(r"(?<=://)[^\s\"'<>]*(?=@)")


def meant(text: str) -> str:
    """The value without blanks and invisible marks around it, without its quotes, and without a comment behind it."""
    text = text.strip().strip(_MARKS).strip()
    if (closing := _QUOTES.get(text[:1])) and (end := text.find(closing, 1)) > 0:
        behind = text[end + 1 :].strip()
        if not behind or behind.startswith("#"):
            return text[1:end].strip()
    return _COMMENT.sub("", text)


def narrow(text: str) -> str:
    """Full-width letters, digits and signs, as an input method leaves them, as the plain ones."""
    return unicodedata.normalize("NFKC", text)


def host_of(text: str) -> str:
    """A host to listen on or to name, without the brackets of a URL and without a slash behind it.

    Raises `ValueError` if it is none.
    """
    host = narrow(text).rstrip("/").lower()
    if (address := address_of(host)) is not None:
        return str(address)
    if not _HOST.fullmatch(host):
        raise ValueError(text)
    return host


def address_of(text: str) -> Address | None:
    """The IP address, if it is one: in brackets or not, and an IPv4 one however IPv6 writes it."""
    try:
        address = ipaddress.ip_address(text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def ollama_url(text: str) -> str:
    """The URL that OLLAMA_HOST means to Ollama: of `host`, `host:port`, `:port`, an address or a URL.

    An address for listening means this machine. Raises `ValueError` if it is none of these.
    """
    scheme, there, rest = narrow(meant(text)).partition("://")
    if not there:
        scheme, rest = "", scheme
    user, at, place = rest.rpartition("@")
    server, slash, path = place.partition("/")
    host, port = _host_and_port(server)
    host = EVERY_ADDRESS.get(host, host) or "127.0.0.1"
    port = port or _PORTS[_known(scheme)]
    return _url(_known(scheme) or "http", user + at, host, port, slash + path)


def server_url(text: str) -> str:
    """An http or https URL without a slash at its end. Raises `ValueError` if it is none."""
    scheme, _, rest = narrow(meant(text)).partition("://")
    user, at, place = rest.rpartition("@")
    server, slash, path = place.partition("/")
    host, port = _host_and_port(server)
    if not host or not _known(scheme):
        raise ValueError(text)
    return _url(_known(scheme), user + at, host, port, slash + path)


def _known(scheme: str) -> str:
    if (scheme := scheme.lower()) not in _PORTS:
        raise ValueError(scheme)
    return scheme


def _host_and_port(server: str) -> tuple[str, int | None]:
    """An empty host where there is only a port; None where there is none."""
    if address_of(server) is not None:
        return host_of(server), None
    host, _, port = server.rpartition(":") if ":" in server else (server, "", "")
    number = int(port) if port else None
    if number is not None and not 0 < number < 65536:
        raise ValueError(server)
    return (host_of(host) if host else ""), number


def _url(scheme: str, user: str, host: str, port: int | None, path: str) -> str:
    if re.search(r"[?#\s]", path):
        raise ValueError(path)
    user = quote(user, safe=":@%!$&'()*+,;=~")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{user}{host}{f':{port}' if port else ''}{path.rstrip('/')}"


def is_near(url: str) -> bool:
    """Whether the server is this machine or one beside it: a proxy of the environment would only be in the way."""
    host = urlsplit(url).hostname or ""
    if (address := address_of(host)) is not None:
        return address.is_private or address.is_loopback or address.is_link_local
    return "." not in host or host.endswith(_BESIDE)


def split_user(url: str) -> tuple[str, str]:
    """A URL's user and password, still quoted, and the URL without them."""
    parts = urlsplit(url)
    user, _, server = parts.netloc.rpartition("@")
    return user, parts._replace(netloc=server).geturl()


def without_password(value: str) -> str:
    """A value that should be a URL, fit to be shown whatever is wrong with it."""
    shown = re.sub(r"^(\w*://)?.*@", rf"\1{HIDDEN}@", value, flags=re.DOTALL)
    return re.sub(r"\?.*$", f"?{HIDDEN}", shown, flags=re.DOTALL)


def without_passwords(text: str) -> str:
    """A text without the user and password of any URL in it."""
    return _USER_IN_TEXT.sub(HIDDEN, text)
