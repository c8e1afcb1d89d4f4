"""A base and its adapter → one model folder, in the base's own number format.

peft's default merge: (W.float() + (B.float() @ A.float()) * lora_alpha / r).to(dtype of W).
"""

import shutil
from pathlib import Path
from typing import Any

from poem_build.models.chat import chat_template
from poem_build.models.load import load_adapted, load_model, load_tokenizer
from poem_build.models.source import LICENCE_FILES
from poem_build.recipe.schema import Recipe
from poem_build.store import artifact
from poem_build.store.artifact import Artifact
from poem_build.train.lora import base_digest

# transformers writes neither tokenizer.model nor all of a slow tokenizer's files, so they are copied as they are.
_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt")
CHAT_TEMPLATE_FILE = "chat_template.jinja"


def run(recipe: Recipe, out: Path) -> Artifact:
    """Merge; the folder holds weights, config, the base's tokenizer and licence files untouched, and our template."""
    adapter = artifact.load(out, "adapter")
    template = chat_template(recipe.base.family)

    def work(folder: Path) -> dict[str, Any]:
        merged = load_adapted(load_model(recipe.base.path, "auto"), adapter.path).merge_and_unload()
        _stop_at(merged.generation_config, load_tokenizer(recipe.base.path), recipe.base.stop)
        merged.save_pretrained(folder)
        for pattern in (*_TOKENIZER_FILES, *LICENCE_FILES):
            for path in recipe.base.path.glob(pattern):
                shutil.copy(path, folder)
        (folder / CHAT_TEMPLATE_FILE).write_text(template, "utf-8")
        return {"prompt_version": adapter.figures["prompt_version"], "dtype": str(merged.dtype).removeprefix("torch.")}

    settings = {"mode": "peft default", "chat_template": template, "stop": recipe.base.stop}
    inputs = {"base": base_digest(recipe), "adapter": adapter.digest}
    return artifact.make(out, "merged", work, settings=settings | artifact.versions("peft"), inputs=inputs)


def _stop_at(generation: Any, tokenizer: Any, stop: list[str]) -> None:
    """`generate` ends at the family's end of turn as well as at the base's own end of text."""
    known = generation.eos_token_id
    ends = {*(known if isinstance(known, list) else [known]), *tokenizer.convert_tokens_to_ids(stop)} - {None}
    generation.eos_token_id = sorted(ends) if len(ends) > 1 else ends.pop()
