"""A model of the Hugging Face hub → its files in a folder, each once, at one commit.

What has come stays in the room, so a fetch that broke goes on where it stopped, in the middle of a file too, and at the
commit that it began with: a branch may have moved meanwhile.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from poem_build.errors import ModelFileError
from poem_build.models.files import CARD, LICENCES
from poem_build.progress import progress
from poem_build.store.digest import sha256
from poem_build.store.folder import write_text

_WEIGHTS = (r"model\.safetensors", r"model-\d+-of-\d+\.safetensors", r"pytorch_model(-\d+-of-\d+)?\.bin")
"""In the order in which they are taken: a repository often holds the weights twice, or in its maker's own format."""
_BESIDE = ("*.json", "*.jinja", "*.txt", "*.model", CARD, *LICENCES)
_COMMIT = "commit"


def wanted(names: Iterable[str]) -> list[str]:
    """Of a repository's files those that transformers reads: the weights in one format, what tells of them, terms."""
    top = sorted(name for name in names if "/" not in name)
    formats = ([name for name in top if re.fullmatch(pattern, name)] for pattern in _WEIGHTS)
    weights = next(filter(None, formats), [])
    kind = Path(weights[0]).suffix if weights else ""
    beside = [name for name in top if any(fnmatch(name, pattern) for pattern in _BESIDE)]
    indexes = [name for name in beside if name.endswith(".index.json")]
    left_out = {name for name in indexes if len(weights) < 2 or not name.endswith(f"{kind}.index.json")}
    return [name for name in beside if name not in left_out] + weights


def fetch(model: str, revision: str, target: Path, room: Path) -> str:
    """Bring the model's files into the folder; returns the commit that they are of.

    Raises `ModelFileError` if the repository has no weights or a file is another than it was announced; what the hub's
    client raises comes through.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi()
    pinned = room / _COMMIT
    at = pinned.read_text("utf-8") if pinned.is_file() else revision
    info = api.model_info(model, revision=at)
    names = wanted(sibling.rfilename for sibling in info.siblings or ())
    if not any(re.fullmatch("|".join(_WEIGHTS), name) for name in names):
        raise ModelFileError(f"base {model}@{at}: there are no weights in it; give a model in safetensors")
    room.mkdir(parents=True, exist_ok=True)
    write_text(pinned, str(info.sha))
    for name in progress(names, f"fetching {model}"):
        _fetch_file(model, name, str(info.sha), room)
    for name in names:
        (room / name).rename(target / name)
    return str(info.sha)


def _fetch_file(model: str, name: str, commit: str, room: Path) -> None:
    # `snapshot_download` goes on with the next file; within one it begins anew in another process.
    import huggingface_hub
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented so

    whole, part = room / name, room / f"{name}.part"
    if whole.is_file():
        return
    url = huggingface_hub.hf_hub_url(model, name, revision=commit)
    announced = huggingface_hub.get_hf_file_metadata(url)
    with part.open("ab") as file:
        http_get(url, file, resume_size=file.tell(), headers=build_hf_headers(), expected_size=announced.size)
    etag = announced.etag or ""
    if re.fullmatch("[0-9a-f]{64}", etag) and sha256(part) != etag:  # a small file's is another kind of digest
        part.unlink()
        raise ModelFileError(f"base {model}@{commit}: {name}: is not what was announced; run it again to fetch it anew")
    part.rename(whole)
