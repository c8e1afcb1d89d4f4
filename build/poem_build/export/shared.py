"""A base → its GGUF files in the recipe's mixtures, made once for every recipe and game that serve an adapter on it.

They lie beside the builds, under the digest of all that they follow from: nothing of a game is in them, so Ollama
keeps one blob however many adapters are served on it.
"""

import json
import tempfile
from importlib import metadata
from pathlib import Path

from poem_build.export import gguf
from poem_build.export.quantization import quantize_file
from poem_build.models import family
from poem_build.models.converter import VERSION
from poem_build.models.files import F16, QUANTIZED
from poem_build.plan.machine import check_disk
from poem_build.recipe.quantize import MIXTURES
from poem_build.recipe.schema import Recipe
from poem_build.store.code import code_digests
from poem_build.store.digest import digest_of, sha256
from poem_build.store.folder import MANIFEST, changed_file

FOLDER = "shared-bases"


def base_files(recipe: Recipe, base: Path, digest: str, room: Path) -> dict[str, Path]:
    """Each mixture of the recipe as a file in `room`; `digest` is the base's.

    Without an importance matrix: that is of one game's texts. Raises what conversion and quantizing raise.
    """
    from filelock import FileLock

    room.mkdir(parents=True, exist_ok=True)
    folders = {kind: room / _key(recipe, digest, kind) for kind in recipe.quantize.made}
    with FileLock(room / ".lock"):
        if missing := [kind for kind, folder in folders.items() if not _is_whole(folder)]:
            _make(recipe, base, {kind: folders[kind] for kind in missing}, room)
    return {kind: folder / QUANTIZED.format(kind) for kind, folder in folders.items()}


def _key(recipe: Recipe, digest: str, kind: str) -> str:
    follows_from = {
        **{"base": digest, "type": kind, "converter": VERSION, "llama.cpp": metadata.version("llama-cpp-python")},
        **{"family": recipe.base.family, "pre_tokenizer": recipe.base.pre_tokenizer},
        "templates": {role: sha256(path) for role, path in family.templates(recipe).items()},
        "code": [code_digests(module) for module in (gguf.__name__, *family.modules(recipe))],
    }
    return digest_of(follows_from)[:16]


def _is_whole(folder: Path) -> bool:
    try:
        files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return changed_file(folder, files, sha256) is None


def _make(recipe: Recipe, base: Path, folders: dict[str, Path], room: Path) -> None:
    size = sum(path.stat().st_size for pattern in ("*.safetensors", "*.bin") for path in base.glob(pattern))
    check_disk(round(size * (1 + sum(MIXTURES[kind] / 16 for kind in folders))), "quantize", room)
    with tempfile.TemporaryDirectory(dir=room) as work:
        whole = Path(work) / F16
        gguf.convert_folder(base, whole, recipe, None)
        for kind, folder in folders.items():
            unfinished = Path(work) / kind
            unfinished.mkdir()
            target = unfinished / QUANTIZED.format(kind)
            quantize_file(whole, target, kind)
            told = {"base": recipe.base.name, "files": {target.name: sha256(target)}}
            (unfinished / MANIFEST).write_text(json.dumps(told, ensure_ascii=False) + "\n", "utf-8")
            if folder.exists():  # damaged: whoever links to its file keeps that
                folder.rename(Path(work) / f"former-{kind}")
            unfinished.rename(folder)
