"""A recipe's teacher and the environment → somebody who answers. Keys come from there alone and are shown nowhere."""

from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

from poem.environment import meant
from poem.game import Game
from poem_build.errors import TeacherError
from poem_build.recipe.teaching import Teaching
from poem_build.teacher.chat import Anthropic, Ollama, OpenAI
from poem_build.teacher.composer import Composer
from poem_build.teacher.gemini import Gemini
from poem_build.teacher.protocol import Teacher

ADDRESSES = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}


def check_extra() -> None:
    """Raises `TeacherError` if the libraries of the extra are not there."""
    if missing := [name for name in ("aiolimiter", "datasketch", "google.genai", "tenacity") if not _there(name)]:
        raise TeacherError(f"{missing[0]}: not installed; pip install 'mansion-poem[teacher]'")


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def teacher_of(spec: Teaching, game: Game, host: str, environ: Mapping[str, str]) -> Teacher:
    """The teacher that the recipe names. Raises `TeacherError` if its key is not there.

    `<NAME>_API_KEY` holds the key, `<NAME>_BASE_URL` another address: an OpenAI-shaped server of one's own needs that
    alone.
    """
    key, address = credentials(spec, environ)
    match spec.name:
        case "composer":
            return Composer(game)
        case "ollama":
            return Ollama(spec, host)
        case "gemini":
            return Gemini(spec, key, address or None)
        case "anthropic":
            return Anthropic(spec, key, address or ADDRESSES["anthropic"])
        case "openai":
            return OpenAI(spec, key, address or ADDRESSES["openai"])


def credentials(spec: Teaching, environ: Mapping[str, str]) -> tuple[str, str]:
    """Key and address of whoever the recipe names; empty where none is needed. Raises `TeacherError` without a key."""
    if spec.name in ("composer", "ollama"):
        return "", ""
    prefix = spec.name.upper()
    key, address = meant(environ.get(f"{prefix}_API_KEY", "")), meant(environ.get(f"{prefix}_BASE_URL", ""))
    if not key and not (spec.name == "openai" and address):
        raise TeacherError(f"{prefix}_API_KEY: not set; export the key, it is written nowhere")
    if address and not _is_url(address):
        raise TeacherError(f"{prefix}_BASE_URL: {address!r} is no address; give an http or https URL")
    if not key.isascii() or not key.isprintable():
        raise TeacherError(f"{prefix}_API_KEY: holds characters that no key has; export it again")
    return key, address


def _is_url(address: str) -> bool:
    """Whether something can be asked there."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
