"""A model of the Hugging Face hub → its files in a folder, each once, at one commit; first those that tell of it.

What has come stays in the room, so a fetch that broke goes on where it stopped, in the middle of a file too, and at the
commit that it began with: a branch may have moved meanwhile.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from poem_build.errors import ModelFileError
from poem_build.models.files import CARD, LICENCES
from poem_build.progress import progress
from poem_build.store.digest import sha256
from poem_build.store.folder import write_text

_WEIGHTS = (r"model\.safetensors", r"model-\d+-of-\d+\.safetensors", r"pytorch_model(-\d+-of-\d+)?\.bin")
"""In the order in which they are taken: a repository often holds the weights twice, or in its maker's own format."""
_OTHER_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".h5", ".msgpack", ".onnx")
"""What weights may lie in that are not taken."""
_BESIDE = ("*.json", "*.jinja", "*.txt", "*.model", CARD, *LICENCES)
_INDEX = ".index.json"
_COMMIT = "commit"


@dataclass(frozen=True)
class Announced:
    """The files of a model that transformers reads, at a commit."""

    commit: str
    sizes: Mapping[str, int]
    """Bytes by name; 0 where the hub does not tell."""

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(self.sizes.values())

    @property
    def pickled(self) -> str:
        """The first file of weights that are not in safetensors; empty if they are."""
        return next((name for name in self.sizes if name.endswith(".bin")), "")

    def to_come(self, room: Path) -> int:
        """Bytes that are not in the room yet."""
        return max(0, self.size - sum(path.stat().st_size for path in room.iterdir()))


def wanted(names: Iterable[str]) -> list[str]:
    """Of a repository's files those that transformers reads: terms, what tells of the weights, these in one format.

    The index of the weights comes last: a room that had it without all of them would be a broken model.
    """
    top = sorted(name for name in names if "/" not in name)
    formats = ([name for name in top if re.fullmatch(pattern, name)] for pattern in _WEIGHTS)
    weights = next(filter(None, formats), [])
    kind = Path(weights[0]).suffix if weights else ""
    beside = [name for name in top if any(fnmatch(name, pattern) for pattern in _BESIDE)]
    index = [name for name in beside if len(weights) > 1 and name.endswith(f"{kind}{_INDEX}")]
    return [name for name in beside if not name.endswith(_INDEX)] + weights + index


def announce(model: str, revision: str, room: Path) -> Announced:
    """What the model consists of, after its small files have been brought into the room, which fixes the commit.

    The index of its weights is not among these.

    Raises `ModelFileError` if the repository has no weights that are taken or a file is another than it was announced;
    what the hub's client raises comes through.
    """
    import huggingface_hub

    pinned = room / _COMMIT
    at = pinned.read_text("utf-8") if pinned.is_file() else revision
    info = huggingface_hub.HfApi().model_info(model, revision=at, files_metadata=True)
    there = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    found = Announced(str(info.sha), {name: there[name] for name in wanted(there)})
    if not any(map(_is_weights, found.sizes)):
        raise ModelFileError(f"base {model}@{at}: {_without_weights(model, there)}")
    room.mkdir(parents=True, exist_ok=True)
    write_text(pinned, found.commit)
    for name in found.sizes:
        if not (_is_weights(name) or name.endswith(_INDEX)):
            _fetch_file(model, name, found.commit, room)
    return found


def fetch(model: str, revision: str, target: Path, room: Path) -> str:
    """Bring the model's files into the folder; returns the commit that they are of. Raises what `announce` does."""
    found = announce(model, revision, room)
    for name in progress(found.sizes, f"fetching {model}"):
        _fetch_file(model, name, found.commit, room)
    for name in found.sizes:
        (room / name).rename(target / name)
    return found.commit


def _is_weights(name: str) -> bool:
    return re.fullmatch("|".join(_WEIGHTS), name) is not None


def _without_weights(model: str, names: Iterable[str]) -> str:
    """What the repository holds instead, and what to do."""
    there = sorted(names)
    if gguf := next((name for name in there if name.endswith(".gguf")), ""):
        return f"its weights are GGUF alone; fetch one, `hf download {model} {gguf}` say, and give --base FILE.gguf"
    if other := next((name for name in there if name.endswith(_OTHER_WEIGHTS)), ""):
        return f"of weights it has {other} alone, which transformers takes for no model; give a model in safetensors"
    return "there are no weights in it; give a model in safetensors"


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
