"""A recipe's base, wherever it comes from → a folder with weights, config and tokenizer.

A model of the hub is fetched at its revision, a GGUF file is dequantized; either is made once and kept as the
artifact `base`. A folder is taken as it stands.
"""

import errno
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poem_build.errors import ModelFileError, RecipeError
from poem_build.models import architectures, hub, licence
from poem_build.models.converter import gguf, quiet
from poem_build.models.family import family
from poem_build.models.files import CARD, LICENCES
from poem_build.models.mixture import file_type, readable
from poem_build.recipe.presets import NOTICES
from poem_build.recipe.schema import HUB_ID, Base, Recipe
from poem_build.store.artifact import Report, read_manifest
from poem_build.store.stage import Job, Stage


class SourceReport(Report):
    """Where a base comes from, and what a GGUF file became."""

    source: str
    commit: str | None = None
    """Of the hub; a branch is another one tomorrow."""
    file: str | None = None
    dtype: str | None = None
    parameters: int | None = None


def bring(job: Job) -> SourceReport:
    """Fetch the model from the hub, or dequantize the GGUF file."""
    _refuse_unfit(job.recipe)
    given = job.recipe.base
    if given.gguf:
        return _dequantize(given.gguf, job.folder)
    with _of_hub(given):
        commit = hub.fetch(str(given.hub), str(given.revision), job.folder, job.room)
    return SourceReport(source=given.name, commit=commit)


def announce(recipe: Recipe, room: Path) -> hub.Announced:
    """What the recipe's model of the hub consists of; all but its weights lies in the room then.

    Raises `ModelFileError` for one that cannot be had, or is known to be no good before the hub is asked.
    """
    _refuse_unfit(recipe)
    given = recipe.base
    with _of_hub(given):
        return hub.announce(str(given.hub), str(given.revision), room)


def _place(recipe: Recipe) -> Mapping[str, Path]:
    """The GGUF file; raises `ModelFileError` if it is not there."""
    path = recipe.base.gguf
    if path and not path.is_file():
        raise ModelFileError(f"{path}: base.gguf: no file there; give another with --base")
    return {"GGUF": path} if path else {}


STAGE = Stage(
    name="base",
    summary="Bring the recipe's base: made from our text (tiny), fetched, or dequantized.",
    makes="base",
    work=bring,
    report=SourceReport,
    # Where it comes from is all that it follows from; another family reads the same files.
    settings=lambda recipe: {"base": {"hub": recipe.base.hub, "revision": recipe.base.revision}},
    outside=_place,
    packages=("transformers",),
    given=lambda recipe: recipe.base.path,
)


def override(recipe: Recipe, given: str) -> Recipe:
    """The recipe on another base: a folder, a GGUF file, or `owner/name@revision` of the hub (`main` without one).

    A folder that is given is only read: what the recipe says of making its own base is left out. The licence is the
    base's, but for a family all of whose models are under the recipe's. Raises `RecipeError` if it is none of these.
    """
    path = Path(given)
    hub, _, revision = given.partition("@")
    if path.is_dir():
        source: dict[str, Any] = {"path": path.resolve()}
    elif path.is_file():
        source = {"gguf": path.resolve()}
    elif re.match(HUB_ID, hub) and path.suffix != ".gguf":
        source = {"hub": hub, "revision": revision or "main"}
    else:
        raise RecipeError(f"--base {given}: no such folder or GGUF file, and no model's id (owner/name@revision)")
    base = Base.model_validate(recipe.base.model_dump() | source)  # without where the recipe's own comes from
    change: dict[str, Any] = {"base": base, "pretrain": None}
    if base != recipe.base:
        change["shape"] = None
    if base != recipe.base and recipe.licence != family(base.family).licence:
        change |= _terms(licence.name_of(base))
    return recipe.model_copy(update=change)


def licensed(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe under the terms that its base tells, if that has been fetched from the hub into the folder by now."""
    return told(recipe, folder) if fetched(recipe.base, folder) else recipe


def fetched(base: Base, folder: Path) -> Path | None:
    """The folder, if the base has been fetched from the hub into it by now."""
    manifest, _ = read_manifest(folder)
    return folder if base.hub and manifest and manifest.report.get("source") == base.name else None


def told(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe under the terms that the small files of its base tell, where none were known."""
    if recipe.licence != licence.name_of(recipe.base):
        return recipe
    return recipe.model_copy(update=_terms(licence.name_of(recipe.base, folder)))


def _terms(name: str) -> dict[str, str]:
    return {"licence": name, "notice": NOTICES.get(name, "")}


def _refuse_unfit(recipe: Recipe) -> None:
    if recipe.shape:
        architectures.refuse_unfit(recipe.shape.architecture, f"base {recipe.base.name}")


@contextmanager
def _of_hub(given: Base) -> Iterator[None]:
    """What the hub's client raises of the base, as one line."""
    import httpx2
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except (OSError, httpx2.HTTPError, HfHubHTTPError, HFValidationError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES):
            raise  # the disk's fault, not the hub's
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFileError(
            f"base {given.name}: cannot be fetched from {ENDPOINT} ({told}); run it again, it goes on where it "
            "stopped; where a licence is asked for, accept the licence there and log in with `hf auth login`, or give "
            "--base FOLDER or --base FILE.gguf"
        ) from error


def _dequantize(path: Path, folder: Path) -> SourceReport:
    kind = file_type(path)
    with readable(path), quiet():
        model, tokenizer = _load_gguf(path)
        tokenizer.save_pretrained(folder)
        model.hf_quantizer = None  # it would refuse to save what it has unpacked
        model.save_pretrained(folder)
    for pattern in (CARD, *LICENCES):
        for beside in path.parent.glob(pattern):
            shutil.copy(beside, folder)
    return SourceReport(
        source=f"dequantized from {kind}",
        file=path.name,
        dtype=str(model.dtype).removeprefix("torch."),
        parameters=sum(p.numel() for p in model.parameters()),
    )


def _load_gguf(path: Path) -> tuple[Any, Any]:
    """Model and tokenizer. Raises `ModelFileError` for a tensor that the file lacks."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import import_utils

    # transformers looks for the package and its version; ours comes with the converter and tells none.
    vars(gguf()).setdefault("__version__", "0.19.0")
    for known in (import_utils.is_gguf_available, import_utils._is_package_available):
        getattr(known, "cache_clear", lambda: None)()
    where: dict[str, Any] = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    where["trust_remote_code"] = False
    model, found = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), output_loading_info=True
    )
    if lacking := found["missing_keys"]:  # the library makes them up
        raise ModelFileError(f"{path}: base.gguf: {min(lacking)}: not there ({len(lacking)} tensors); fetch it again")
    return model, AutoTokenizer.from_pretrained(**where)
