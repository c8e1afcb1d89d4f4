"""A model folder → an f16 GGUF that tokenizes as transformers does and says which prompt it was trained on."""

import re
from pathlib import Path
from typing import Any

from poem_build.errors import GateError, ModelFileError
from poem_build.export import parity
from poem_build.models.chat import chat_template
from poem_build.models.converter import VERSION, converter, gguf, quiet
from poem_build.recipe.schema import Recipe
from poem_build.store import artifact
from poem_build.store.artifact import Artifact

PROMPT_VERSION_KEY = "mansion_poem.prompt_version"
FILE = "model-f16.gguf"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def run(recipe: Recipe, out: Path) -> Artifact:
    """Convert the merged model; refuses on any text whose token ids differ."""
    merged = artifact.load(out, "merged")
    count = recipe.gate.token_parity_texts
    version = merged.figures["prompt_version"]

    def work(folder: Path) -> dict[str, Any]:
        path = folder / FILE
        convert_folder(merged.path, path, recipe, version)
        different = parity.differing_texts(merged.path, path, recipe.base.family, count)
        if different:
            raise GateError(
                f"base.pre_tokenizer: {len(different)} of {count} texts get other token ids in llama.cpp than in "
                f"transformers, or do not come back from them, {different[0]!r} for one; name the split that the "
                "tokenizer makes"
            )
        return {"token_parity": {"texts": count, "different": 0}, "bytes": path.stat().st_size}

    settings = recipe.base.model_dump(include={"family", "pre_tokenizer"}) | {"prompt_version": version}
    settings |= {"token_parity_texts": count, "chat_template": chat_template(recipe.base.family), "name": recipe.name}
    settings |= {"serve": recipe.serve.model_dump(), "converter": VERSION}
    return artifact.make(out, "f16", work, settings=settings, inputs={"merged": merged.digest})


def convert_folder(folder: Path, target: Path, recipe: Recipe, version: str) -> None:
    """Write the folder's model as f16 GGUF; raises `ModelFileError` for an architecture it does not know.

    `version` is that of the prompt it was trained on. The recipe's sampling goes along under llama.cpp's own
    `general.sampling.*` keys, for engines that read no Modelfile.
    """
    import torch

    conversion = converter()
    hparams = conversion.ModelBase.load_hparams(folder, False)
    architecture = conversion.get_model_architecture(hparams, conversion.ModelType.TEXT)
    try:
        family = conversion.get_model_class(architecture)
    except NotImplementedError as error:
        raise ModelFileError(f"{folder}/config.json: architectures: the converter knows no {architecture}") from error

    class Converted(family):  # type: ignore[misc, valid-type]
        model_arch = family.model_arch

        def get_vocab_base_pre(self, tokenizer: Any) -> str:
            # The converter looks a hash of token ids up, which no tokenizer trained elsewhere can be in.
            return recipe.base.pre_tokenizer

        def get_vocab_base(self) -> tuple[list[str], list[int], str]:
            # The converter takes byte tokens for words here; llama.cpp would write `<0xE3>` out, and an answer's
            # grammar could not be kept where a character has no token of its own.
            tokens, types, split = super().get_vocab_base()
            byte = gguf().TokenType.BYTE
            return tokens, [byte if _BYTE.fullmatch(t) else kind for t, kind in zip(tokens, types, strict=True)], split

        def set_gguf_parameters(self) -> None:
            super().set_gguf_parameters()
            writer, serve = self.gguf_writer, recipe.serve
            writer.add_string(PROMPT_VERSION_KEY, version)
            writer.add_sampling_temp(serve.temperature)
            writer.add_sampling_top_k(serve.top_k)
            writer.add_sampling_top_p(serve.top_p)
            writer.add_sampling_min_p(serve.min_p)
            writer.add_sampling_penalty_repeat(serve.repeat_penalty)

        def prepare_metadata(self, vocab_only: bool) -> None:
            super().prepare_metadata(vocab_only)
            self.gguf_writer.add_chat_template(chat_template(recipe.base.family))

    with quiet(), torch.inference_mode():
        # Without a name llama.cpp takes the folder's, and some names change how it treats special tokens.
        Converted(folder, gguf().LlamaFileType.MOSTLY_F16, target, model_name=recipe.name, hparams=hparams).write()
