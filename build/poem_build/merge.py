"""A base and its adapter → one model folder, in the base's own number format.

peft's default merge: (W.float() + (B.float() @ A.float()) * lora_alpha / r).to(dtype of W).
"""

import shutil
from pathlib import Path
from typing import Any

from poem_build import artifact
from poem_build.artifact import Artifact
from poem_build.models import load_adapted, load_model
from poem_build.recipe import Recipe
from poem_build.train import base_digest

# transformers writes neither tokenizer.model nor all of a slow tokenizer's files, so they are copied as they are.
_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt")


def run(recipe: Recipe, out: Path) -> Artifact:
    """Merge; the folder holds weights, config and the base's tokenizer files, untouched."""
    adapter = artifact.load(out, "adapter")

    def work(folder: Path) -> dict[str, Any]:
        merged = load_adapted(load_model(recipe.base.path, "auto"), adapter.path).merge_and_unload()
        merged.save_pretrained(folder)
        for pattern in _TOKENIZER_FILES:
            for path in recipe.base.path.glob(pattern):
                shutil.copy(path, folder)
        return {"prompt_version": adapter.figures["prompt_version"], "dtype": str(merged.dtype).removeprefix("torch.")}

    inputs = {"base": base_digest(recipe), "adapter": adapter.digest}
    return artifact.make(
        out, "merged", work, settings={"mode": "peft default"} | artifact.versions("peft"), inputs=inputs
    )
