"""An adapter, or weights that were all trained → whether they belong to the base that they are to change.

Shapes alone do not tell: those of a Llama fit a Qwen2.
"""

import json
from pathlib import Path

from poem_build.errors import ModelFileError
from poem_build.models.inspection import ADAPTER_CONFIG
from poem_build.models.origin import FILE, WEIGHTS, read_origin
from poem_build.store.artifact import Artifact

_REMEDY = "give the base it was trained on"


def refuse_other_base(base: Artifact, trained: Path) -> None:
    """Raises `ModelFileError` for what was trained on other weights, or another kind of model, as far as it says so."""
    if (trained / FILE).is_file() and (told := read_origin(trained).base):
        if told != base.digest(WEIGHTS):
            raise ModelFileError(f"{trained / FILE}: base: was trained on other weights than {base.path}'s; {_REMEDY}")
        return
    theirs, ours = _model_type(trained) or _model_type(_named_base(trained)), _model_type(base.path)
    if theirs and theirs != ours:
        raise ModelFileError(f"{trained}: was trained on a model of type {theirs}, {base.path} is {ours}; {_REMEDY}")


def _model_type(folder: Path) -> str:
    return str(_json(folder / "config.json").get("model_type", ""))


def _named_base(adapter: Path) -> Path:
    return Path(str(_json(adapter / ADAPTER_CONFIG).get("base_model_name_or_path")))


def _json(path: Path) -> dict[str, object]:
    """Empty for a file that is not there or broken: who reads it in full says so."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
