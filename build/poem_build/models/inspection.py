"""A GGUF file, the folder of an adapter or a model → what is in it: architecture, tokenizer, template, tensors."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poem_build.errors import ModelFileError
from poem_build.models import tensors
from poem_build.models.converter import gguf

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_BLOCK = re.compile(r"(?:^|\.)(?:blk|layers|h|blocks)\.(\d+)\.")
_LISTS = frozenset({"tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.scores"})
_ADAPTER_FIELDS = (
    *("peft_type", "base_model_name_or_path", "r", "lora_alpha", "use_rslora", "use_dora", "target_modules"),
    *("rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices"),
)


@dataclass(frozen=True)
class Tensor:
    """A tensor as the file has it, its shape as NumPy tells it."""

    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Inspection:
    """What a file or folder holds."""

    path: str
    kind: str
    architecture: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Of the tokenizer and the rest, by the names that the file has for them."""
    template: str = ""
    tensors: tuple[Tensor, ...] = ()

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        return sum(one.bytes for one in self.tensors)

    @property
    def types(self) -> dict[str, int]:
        """How many tensors are of each type, the commonest first."""
        return dict(Counter(one.type for one in self.tensors).most_common())

    @property
    def blocks(self) -> dict[str, int]:
        """Bytes of every block, by its number, and of what stands outside of them, by its name."""
        found: dict[str, int] = {}
        for one in self.tensors:
            inside = _BLOCK.search(one.name)
            place = f"block {inside[1]}" if inside else one.name
            found[place] = found.get(place, 0) + one.bytes
        return found


def inspect(path: Path) -> Inspection:
    """What is in it; of an adapter, the architecture is its base's, where that is still there.

    Raises `ModelFileError` for a path that holds none of these, and for a folder without weights.
    """
    if path.is_file():
        return _of_gguf(path)
    if (path / ADAPTER_CONFIG).is_file():
        return _of_adapter(path)
    if (path / "config.json").is_file():
        return _of_model(path)
    raise ModelFileError(f"{path}: neither a GGUF file nor the folder of an adapter or a model; give one of these")


def _of_gguf(path: Path) -> Inspection:
    try:
        reader = gguf().GGUFReader(path)
        fields = {
            name: entry.contents()
            for name, entry in reader.fields.items()
            if name not in _LISTS and not name.startswith("GGUF.")
        }
        words = reader.fields.get("tokenizer.ggml.tokens")
        found = tuple(
            Tensor(one.name, one.tensor_type.name, tuple(int(n) for n in reversed(one.shape)), int(one.n_bytes))
            for one in reader.tensors
        )
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ModelFileError(f"{path}: no whole GGUF ({error}); make or fetch it again") from error
    template = str(fields.pop("tokenizer.chat_template", ""))
    facts = {name: value for name, value in fields.items() if not isinstance(value, list) or len(value) <= _SHORT}
    if words:
        facts["tokenizer.ggml.tokens"] = len(words.data)
    kind = f"GGUF {facts.get('general.type', 'model')}"
    return Inspection(str(path), kind, str(facts.get("general.architecture", "")), facts, template, found)


_SHORT = 16
"""Entries of a list that are told; longer ones are a vocabulary."""


def _of_adapter(folder: Path) -> Inspection:
    config = _json(folder / ADAPTER_CONFIG)
    facts = {name: config[name] for name in _ADAPTER_FIELDS if config.get(name)}
    found = _tensors(tensors.in_file(folder / ADAPTER_WEIGHTS))
    base = Path(str(config.get("base_model_name_or_path")), "config.json")
    architecture = _architecture(base) if base.is_file() else ""
    return Inspection(str(folder), "adapter", architecture, facts, "", found)


def _of_model(folder: Path) -> Inspection:
    config = _json(folder / "config.json")
    facts = {name: value for name, value in config.items() if isinstance(value, (str, int, float, bool))}
    template = folder / "chat_template.jinja"
    told = template.read_text("utf-8") if template.is_file() else ""
    found = _tensors(tensors.places(folder))
    if not found:
        raise ModelFileError(f"{folder}: holds no weights in safetensors; fetch it again, in this format")
    return Inspection(str(folder), "model", _architecture(folder / "config.json"), facts, told, found)


def _architecture(config: Path) -> str:
    told = _json(config).get("architectures") or []
    if not isinstance(told, list) or not all(isinstance(one, str) for one in told):
        raise ModelFileError(f"{config}: architectures: {told!r} is no list of names; make or fetch it again")
    return ", ".join(told)


def _tensors(places: Mapping[str, tensors.Place]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, place.dtype, place.shape, place.size) for name, place in places.items())


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: no JSON ({error}); make or fetch it again") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{path}: holds no object; make or fetch it again")
    return content
