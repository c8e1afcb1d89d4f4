"""A base and an adapter, neither of them loaded → what the adapter changes of each tensor, or why peft has to do it.

peft lays the adapter out on the base's architecture without weights: which modules it takes, at which strength, and
which tensors its file must hold follows from that; only the arithmetic is ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poem_build.errors import ModelFileError
from poem_build.models import tensors
from poem_build.models.load import reason, skeleton, translated
from poem_build.models.tensors import Place

if TYPE_CHECKING:
    import torch

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_NOTES = {"task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version"}
_WHERE = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"}
_HOW = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout", "fan_in_fan_out"}
_TOKENS = {"trainable_token_indices", "ensure_weight_tying"}
_PLAIN = _NOTES | _WHERE | _HOW | _TOKENS
"""What a configuration may say that its layout on the architecture tells in full; all else is peft's to merge."""


@dataclass(frozen=True)
class Product:
    """W + B·A · scale, as peft's default merge has it."""

    a: Place
    b: Place
    scale: float
    transposed: bool

    def edit(self, part: "torch.Tensor", first: int) -> "torch.Tensor":
        """The rows of W from the first on, changed."""
        a, b, last = self.a.whole().float(), self.b.whole().float(), first + len(part)
        delta = (b @ a[:, first:last]).T if self.transposed else b[first:last] @ a
        return (part + delta.mul_(self.scale)).to(part.dtype)  # the sum in float32


@dataclass(frozen=True)
class Tokens:
    """The trained tokens' rows in place of the embeddings."""

    indices: tuple[int, ...]
    rows: Place

    def edit(self, part: "torch.Tensor", first: int) -> "torch.Tensor":
        """The rows of W from the first on, changed."""
        import torch

        inside = [n for n, index in enumerate(self.indices) if first <= index < first + len(part)]
        where = torch.tensor([self.indices[n] - first for n in inside], dtype=torch.long)
        return part.index_copy(0, where, self.rows.whole()[inside].to(part.dtype))


@dataclass(frozen=True)
class Saved:
    """A tensor that was trained as a whole, in place of the base's."""

    values: Place

    def edit(self, part: "torch.Tensor", first: int) -> "torch.Tensor":
        """The rows of W from the first on, changed."""
        return self.values.whole()[first : first + len(part)].to(part.dtype)


Edit = Product | Tokens | Saved


@dataclass(frozen=True)
class Layout:
    """The base's architecture, and what the adapter changes of it by the names of the architecture's tensors."""

    model: Any
    """Without weights."""
    edits: Mapping[str, Edit] = field(default_factory=dict)
    unplain: str = ""
    """Why peft has to merge it; empty if it has not to."""


def lay_out(base: Path, adapter: Path) -> Layout:
    """Raises `ModelFileError` for an adapter of another base, and for a tensor that either of the two lacks."""
    import peft
    from peft.utils import get_peft_model_state_dict

    model = skeleton(base)
    tied = set(model.all_tied_weights_keys) | set(model.all_tied_weights_keys.values())
    with translated(adapter):
        config = peft.PeftConfig.from_pretrained(adapter)
        unplain = _unplain(config)
        config.init_lora_weights = True  # what it began with matters no more
        laid = _laid(model, config, adapter)
        wanted = get_peft_model_state_dict(laid, save_embedding_layers=False)
    there = tensors.in_file(adapter / WEIGHTS)
    _refuse_unlike(adapter / WEIGHTS, wanted, there)
    edits: dict[str, Edit] = {}
    if not unplain and len(there) > len(wanted):
        unplain = "it brings a matrix of its base's along"
    for name, edit in _edits(laid, there):
        if edit is None:
            unplain = unplain or f"{name} is no plain matrix"
        elif name in tied and not isinstance(edit, Tokens):
            unplain = unplain or f"{name} is tied to another tensor"
        else:
            edits[name] = edit
    return Layout(skeleton(base), {} if unplain else edits, unplain)


def _laid(model: Any, config: Any, adapter: Path) -> Any:
    import peft

    try:
        return peft.PeftModel(model, config)
    except ValueError as error:  # of modules that are not there, above all
        told = reason(error).partition(". ")[0]
        raise ModelFileError(f"{adapter}: adapter of another base? {told}; give the base it was trained on") from error


def _unplain(config: Any) -> str:
    import peft

    if not isinstance(config, peft.LoraConfig):
        return f"it is no LoRA but {config.peft_type}"
    plain, given = peft.LoraConfig().to_dict(), config.to_dict()
    if given["init_lora_weights"] in (False, "gaussian"):  # others begin by changing the base
        given["init_lora_weights"] = True
    odd = [key for key, value in given.items() if key not in _PLAIN and (value or None) != (plain.get(key) or None)]
    return f"{odd[0]} is {given[odd[0]]!r}" if odd else ""


def _refuse_unlike(path: Path, wanted: Mapping[str, Any], there: Mapping[str, Place]) -> None:
    """What the file holds must be what the layout has, name by name and shape by shape."""
    where = f"{path}: adapter of another base?"
    if lost := sorted(wanted.keys() - there.keys()):
        raise ModelFileError(f"{path}: {lost[0]}: not there ({len(lost)} of {len(wanted)} tensors); train it again")
    # peft writes a changed embedding or head out whole, beside what it was changed by.
    if strange := sorted(name for name in there.keys() - wanted.keys() if ".base_layer." not in name):
        raise ModelFileError(f"{where} {strange[0]}: the base has no such matrix; give the base it was trained on")
    tensors.refuse_no_floats(there)
    for name, tensor in wanted.items():
        if there[name].shape != tuple(tensor.shape):
            raise ModelFileError(
                f"{where} {name} is {by(there[name].shape)}, this base wants {by(tensor.shape)}; give the base it "
                "was trained on"
            )


def _edits(laid: Any, there: Mapping[str, Place]) -> Iterator[tuple[str, Edit | None]]:
    """Every tensor that changes, and how; None for what is beyond us."""
    from peft.tuners.lora import Linear, LoraLayer
    from peft.tuners.trainable_tokens import TrainableTokensLayer
    from peft.utils import ModulesToSaveWrapper

    for name, module in laid.named_modules():
        plain = name.removeprefix(_PREFIX)
        if isinstance(module, LoraLayer):
            a, b = (there.get(f"{name}.lora_{side}.weight") for side in "AB")
            matrix = type(module) is Linear and a and b
            scale, transposed = module.scaling["default"], bool(getattr(module, "fan_in_fan_out", False))
            yield f"{plain}.weight", Product(a, b, scale, transposed) if matrix and a and b else None
        elif isinstance(module, TrainableTokensLayer) and not module.tied_adapter:
            indices = tuple(module.token_indices["default"])
            yield (
                f"{plain.removesuffix('.token_adapter')}.weight",
                Tokens(indices, there[f"{name}.trainable_tokens_delta"]),
            )
        elif isinstance(module, ModulesToSaveWrapper):
            for inner, _ in module.modules_to_save["default"].named_parameters():
                yield f"{plain}.{inner}", Saved(there[f"{name}.{inner}"])


def by(shape: Sequence[int]) -> str:
    """A shape as it is said."""
    return "×".join(map(str, shape))
