"""The environment → a server's credentials, and with a recipe its teacher.

Keys come from the environment alone and are shown nowhere.
"""

from collections.abc import Mapping
from importlib.util import find_spec

from poem.environment import meant, server_url, without_password
from poem.game import Game
from poem_build.client import Credentials
from poem_build.errors import TeacherError
from poem_build.recipe.teaching import TeacherName, Teaching
from poem_build.teacher.chat import Anthropic, Ollama, OpenAI
from poem_build.teacher.composer import Composer
from poem_build.teacher.gemini import Gemini
from poem_build.teacher.money import Price
from poem_build.teacher.protocol import Teacher

_ADDRESSES = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}


def check_extra() -> None:
    """Raises `TeacherError` if the libraries of the extra are not there."""
    if missing := [name for name in ("aiolimiter", "datasketch", "google.genai", "tenacity") if not _there(name)]:
        raise TeacherError(f"{missing[0]}: not installed; pip install -e '.[teacher]'")


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def teacher_of(spec: Teaching, price: Price, game: Game, host: str, environ: Mapping[str, str]) -> Teacher:
    """The teacher that the recipe names. Raises `TeacherError` if its key is not there."""
    found = credentials(spec.name, environ)
    match spec.name:
        case "composer":
            return Composer(game)
        case "ollama":
            return Ollama(spec, host)
        case "gemini":
            return Gemini(spec, found.key, found.address or None, price)
        case "anthropic":
            return Anthropic(spec, found.key, found.address)
        case "openai":
            return OpenAI(spec, found.key, found.address, price)


def credentials(name: TeacherName, environ: Mapping[str, str]) -> Credentials:
    """Address and key of whoever is asked under that name; empty where none is needed. Raises `TeacherError`.

    `<NAME>_API_KEY` holds the key, `<NAME>_BASE_URL` another address: an OpenAI-shaped server of one's own needs that
    alone.
    """
    if name in ("composer", "ollama"):
        return Credentials()
    prefix = name.upper()
    key, given = meant(environ.get(f"{prefix}_API_KEY", "")), meant(environ.get(f"{prefix}_BASE_URL", ""))
    if not key and not (name == "openai" and given):
        raise TeacherError(f"{prefix}_API_KEY: not set; export the key, it is written nowhere")
    try:
        address = server_url(given) if given else _ADDRESSES.get(name, "")
    except ValueError:
        shown = without_password(given)
        raise TeacherError(f"{prefix}_BASE_URL: {shown!r} is no address; give an http or https URL") from None
    if not key.isascii() or not key.isprintable():
        raise TeacherError(f"{prefix}_API_KEY: holds characters that no key has; export it again")
    return Credentials(address, key)
