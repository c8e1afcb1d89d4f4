"""Several adapters of one base, each with a weight → one adapter, by peft's `add_weighted_adapter`."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from poem_build.errors import ModelFileError
from poem_build.export.edits import lay_out
from poem_build.models.load import skeleton, translated
from poem_build.models.origin import FILE, read_origin

Method = Literal["cat", "linear", "svd", "ties", "dare_linear", "dare_ties", "magnitude_prune"]
"""peft's names; `cat` is the exact weighted sum, of as many ranks as all have together."""
_OF_ANY_RANK = ("cat", "svd")
_DENSITY = 0.5
"""The share of the numbers that the pruning methods keep, as peft's examples have it."""
_NAME = "blend"


def blend(base: Path, adapters: Sequence[tuple[Path, float]], method: Method, target: Path) -> None:
    """Write the one adapter.

    Raises `ModelFileError` for adapters that do not fit the base, each other or the method.
    """
    import peft

    for folder, _ in adapters:
        _refuse_unblendable(base, folder)
    folders = [folder for folder, _ in adapters]
    _refuse_unlike(folders)
    if method not in _OF_ANY_RANK:
        _refuse_other_ranks(folders, method)
    # The base's own weights have no part in it: memory that nobody writes to is not taken.
    model = skeleton(base).to_empty(device="cpu")
    names = [f"of {number}" for number in range(len(adapters))]
    with translated(target):
        adapted = peft.PeftModel.from_pretrained(model, adapters[0][0], adapter_name=names[0])
        for name, (folder, _) in zip(names[1:], adapters[1:], strict=True):
            adapted.load_adapter(folder, adapter_name=name)
        more: dict[str, Any] = {} if method in (*_OF_ANY_RANK, "linear") else {"density": _DENSITY}
        weights = [weight for _, weight in adapters]
        adapted.add_weighted_adapter(names, weights, _NAME, combination_type=method, **more)
        adapted.save_pretrained(target, selected_adapters=[_NAME])
    for path in (target / _NAME).iterdir():
        path.replace(target / path.name)
    (target / _NAME).rmdir()
    if (origin := adapters[0][0] / FILE).is_file():
        shutil.copyfile(origin, target / FILE)


def _refuse_unblendable(base: Path, folder: Path) -> None:
    """peft takes the matrices alone, and leaves out in silence what else was trained."""
    import peft

    if unplain := lay_out(base, folder).unplain:
        raise ModelFileError(f"{folder}: cannot be blended: {unplain}; merge it alone")
    config = peft.PeftConfig.from_pretrained(folder)
    for field in ("trainable_token_indices", "modules_to_save"):
        if getattr(config, field):
            raise ModelFileError(f"{folder}: cannot be blended: {field}: peft leaves these out; train without them")


def _refuse_other_ranks(folders: Sequence[Path], method: Method) -> None:
    ranks = {_rank(folder): folder for folder in folders}
    if len(ranks) > 1:
        (one, first), (other, second) = list(ranks.items())[:2]
        raise ModelFileError(
            f"{second}: r is {other}, that of {first} is {one}, and {method} blends adapters of one r; give --method "
            f"{' or '.join(_OF_ANY_RANK)}"
        )


def _rank(folder: Path) -> int:
    """The largest of the adapter's, which is what peft goes by."""
    import peft

    config: Any = peft.PeftConfig.from_pretrained(folder)
    return max(config.r, *config.rank_pattern.values()) if config.rank_pattern else int(config.r)


def _refuse_unlike(folders: Sequence[Path]) -> None:
    known = {read_origin(folder).prompt_version: folder for folder in folders if (folder / FILE).is_file()}
    if len(known) > 1:
        one, other = list(known.values())[:2]
        raise ModelFileError(f"{other}: was trained on another prompt than {one}; train both on one")
