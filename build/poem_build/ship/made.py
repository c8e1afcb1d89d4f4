"""A recipe's folder of artifacts → whether an image can be made of it, and what the image is told of it.

Standard library only.
"""

import json
from pathlib import Path
from typing import Any

from poem.model_keys import ADAPTER_FILE, VERDICT_FILE
from poem_build.errors import ArtifactError, GateError
from poem_build.models.files import model_digest
from poem_build.ship.containers import ROOT
from poem_build.store.digest import sha256
from poem_build.store.folder import MANIFEST, changed_file, digest_of_files

STAGES_OF_IMAGE = ("dataset", "gguf", "modelfile", "verify")
"""What an image is made from."""
UNMERGED = "--unmerged"
_REMEDY = "`poem-build run` makes it"


def folder_of(tagged: str) -> Path:
    """Where the artifacts of that name lie."""
    return ROOT / "artifacts" / tagged


def whole(tagged: str, *, unmerged: bool = False) -> dict[str, dict[str, Any]]:
    """The manifests of the artifacts that an image is made from, in the folder of that name.

    Raises `ArtifactError` for one that is not there, damaged, made from another than lies beside it, or wrongly merged;
    `GateError` for a model that its gates refuse and nobody let through.
    """
    out = folder_of(tagged)
    found = {stage: _manifest(out / stage) for stage in STAGES_OF_IMAGE}
    for stage, one in found.items():
        for role, patterns in one["reads"].items():
            if role in found and digest_of_files(found[role]["files"], patterns) != one["key"]["inputs"][role]:
                raise ArtifactError(f"{out / stage}: made from another {role} than the one beside it", _REMEDY)
    if unmerged and ADAPTER_FILE not in found["gguf"]["files"]:
        raise ArtifactError(f"{out}: its adapter is merged", f"`poem-build run {UNMERGED}` leaves it beside its base")
    if refused := _said(tagged, "refused"):
        raise GateError(f"{out / 'gguf'}: refused by {refused}; `poem-build run --force` lets it through")
    return found


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        changed = changed_file(folder, manifest["files"], sha256)
        inputs = manifest["key"]["inputs"]
        if not all(role in inputs for role in manifest["reads"]):
            raise ValueError("of another version")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder}: not there, unfinished or of another version", _REMEDY) from error
    if changed:
        raise ArtifactError(f"{folder}: {changed} is missing or was changed", _REMEDY)
    return manifest


def as_arguments(tagged: str) -> dict[str, str]:
    """What an image build is told of the model that lies there. Raises what `whole` does."""
    gguf = model_digest(whole(tagged)["gguf"]["files"])
    fields = json.loads((folder_of(tagged) / "modelfile" / "create.json").read_text("utf-8"))
    origin = json.loads((folder_of(tagged) / "gguf" / "origin.json").read_text("utf-8"))
    return {
        "MODEL_FROM": "artifacts",
        "MODEL_GGUF": gguf,
        "MODEL_GAME_DIGEST": origin["game_digest"],
        "MODEL_LICENCE": str(fields["license"]).splitlines()[0],
        "MODEL_VERDICT": verdict(tagged),
    }


def verdict(tagged: str) -> str:
    """What the gates said of the model, as its image's label has it; empty where nothing was said."""
    forced = _said(tagged, "forced")
    return "; ".join(filter(None, (_said(tagged, "verdict"), forced and f"forced: {forced}")))


def _said(tagged: str, field: str) -> str:
    """A field of what stands beside the model, several gates in one text; empty where nothing was said."""
    try:
        told = json.loads((folder_of(tagged) / "gguf" / VERDICT_FILE).read_text("utf-8"))[field]
        return told if isinstance(told, str) else "; ".join(told)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
