"""A model folder → an f16 GGUF that says what it was trained for."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poem import model_keys
from poem_build.errors import ModelFileError
from poem_build.models import family, unigram
from poem_build.models.converter import converter, gguf, quiet
from poem_build.models.origin import Origin
from poem_build.recipe.schema import Recipe

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def convert_folder(
    folder: Path, target: Path, recipe: Recipe, origin: Origin | None, *, vocabulary_only: bool = False
) -> None:
    """Write the folder's model as f16 GGUF; raises `ModelFileError` for a model that the converter cannot take.

    It says which prompt and game it was trained for. The recipe's sampling goes along under llama.cpp's own
    `general.sampling.*` keys, for engines that read no Modelfile. Without an origin it says nothing of either, and has
    its family's name: a base that recipes and games share.
    """
    import torch

    conversion = converter()
    with translated(folder):
        hparams = completed(conversion.ModelBase.load_hparams(folder, False))
        architecture = conversion.get_model_architecture(hparams, conversion.ModelType.TEXT)
    try:
        known = conversion.get_model_class(architecture)
    except NotImplementedError as error:
        raise ModelFileError(f"{folder}/config.json: architectures: the converter knows no {architecture}") from error

    talk = family.family(recipe.base.family)

    class Converted(known):  # type: ignore[misc, valid-type]
        model_arch = known.model_arch

        def get_vocab_base_pre(self, tokenizer: Any) -> str:
            # The converter looks a hash of token ids up, which no tokenizer trained elsewhere can be in.
            return talk.split(recipe.base)

        def get_vocab_base(self) -> tuple[list[str], list[int], str]:
            # The converter takes byte tokens for words here; llama.cpp would write `<0xE3>` out, and an answer's
            # grammar could not be kept where a character has no token of its own.
            tokens, types, split = super().get_vocab_base()
            byte = gguf().TokenType.BYTE
            return tokens, [byte if _BYTE.fullmatch(t) else kind for t, kind in zip(tokens, types, strict=True)], split

        def set_vocab(self) -> None:
            if (unknown := unigram.unknown_id(folder)) is None:
                super().set_vocab()
                return
            # Of llama.cpp's own vocabularies T5's alone is a unigram model; only the answer ends with its end of text.
            conversion.get_model_class("T5ForConditionalGeneration").set_vocab(self)
            self.gguf_writer.add_unk_token_id(unknown)
            self.gguf_writer.add_add_eos_token(False)

        def set_gguf_parameters(self) -> None:
            super().set_gguf_parameters()
            if origin:
                introduce(self.gguf_writer, recipe, origin)

        def prepare_metadata(self, vocab_only: bool) -> None:
            super().prepare_metadata(vocab_only)
            self.gguf_writer.add_chat_template(talk.chat_template)

    with quiet(), torch.inference_mode(), translated(folder):
        # Without a name llama.cpp takes the folder's, and some names change how it treats special tokens.
        name = recipe.name if origin else f"{talk.name} base"
        made = Converted(folder, gguf().LlamaFileType.MOSTLY_F16, target, model_name=name, hparams=hparams)
        made.write_vocab() if vocabulary_only else made.write()


def introduce(writer: Any, recipe: Recipe, origin: Origin) -> None:
    """Have the file say which prompt and game it is for, and how it is sampled from."""
    serve = recipe.serve
    for key, text in keys_of(origin).items():
        writer.add_string(key, text)
    writer.add_sampling_temp(serve.temperature)
    writer.add_sampling_top_k(serve.top_k)
    writer.add_sampling_top_p(serve.top_p)
    writer.add_sampling_min_p(serve.min_p)
    writer.add_sampling_penalty_repeat(serve.repeat_penalty)


def keys_of(origin: Origin) -> dict[str, str]:
    """What a file says of what its model was trained for; the built-in game has no name."""
    told = {
        model_keys.PROMPT_VERSION: origin.prompt_version,
        model_keys.STAGES: str(origin.stages),
        model_keys.GAME: origin.game,
        model_keys.GAME_DIGEST: origin.game_digest,
    }
    return {key: text for key, text in told.items() if text}


def completed(hparams: dict[str, Any]) -> dict[str, Any]:
    """A base's config with what llama.cpp's converter asks for under names that transformers no longer writes."""
    rope = hparams.get("rope_parameters") or {}
    match hparams.get("model_type"):
        case "gpt2":
            return {"n_ctx": hparams["n_positions"], **hparams}
        case "gpt_neox":
            return {"rotary_pct": rope.get("partial_rotary_factor", 1.0), **hparams}
    return hparams


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """What the converter raises of a model that it cannot take, as one line: `KeyError: 'n_ctx'` for a config, say."""
    try:
        yield
    except OSError:
        raise  # the disk's fault, or a file that is not there: it names itself
    except Exception as error:
        told = (str(error).strip() or "no reason given").splitlines()[0]
        raise ModelFileError(
            f"{folder}: llama.cpp's converter cannot take it: {type(error).__name__}: {told}; is config.json whole, "
            "and the architecture one that llama.cpp knows?"
        ) from error
