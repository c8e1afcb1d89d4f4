"""A folder's SentencePiece unigram model → its tokenizer as it was trained, which transformers takes for T5's.

T5's class has the unknown token's id written into it; in rinna's models that id is the end of a text.
"""

import json
from pathlib import Path
from typing import Any

_UNIGRAM = 1
"""`ModelType` in sentencepiece_model.proto."""


def unknown_id(folder: Path) -> int | None:
    """The id of the unknown token; None where the folder's vocabulary is no unigram model."""
    model = _model(folder)
    return int(model.trainer_spec.unk_id) if model else None


def tokenizer_of(folder: Path) -> Any | None:
    """The tokenizer of a folder that holds such a model and no tokenizer.json; None for any other folder."""
    if (folder / "tokenizer.json").is_file() or (model := _model(folder)) is None:
        return None
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    tokenizer = Tokenizer(models.Unigram(pieces, model.trainer_spec.unk_id, byte_fallback=False))
    rules: list[Any] = [normalizers.Replace(Regex(" {2,}"), " ")]
    if charsmap := model.normalizer_spec.precompiled_charsmap:
        rules.insert(0, normalizers.Precompiled(charsmap))
    if model.normalizer_spec.remove_extra_whitespaces:
        rules.append(normalizers.Strip())
    blank = "always" if model.normalizer_spec.add_dummy_prefix else "never"
    tokenizer.normalizer = normalizers.Sequence(rules)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=blank)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=blank)
    config = folder / "tokenizer_config.json"
    told = json.loads(config.read_text("utf-8")) if config.is_file() else {}
    spec = model.trainer_spec
    special = {"unk_token": pieces[spec.unk_id][0], "bos_token": spec.bos_piece, "eos_token": spec.eos_piece}
    special |= {name: told[name] for name in ("bos_token", "eos_token", "unk_token", "pad_token") if told.get(name)}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def _model(folder: Path) -> Any | None:
    from sentencepiece import sentencepiece_model_pb2

    read: Any = vars(sentencepiece_model_pb2)["ModelProto"]  # its types are made at run time

    for path in (folder / "spiece.model", folder / "tokenizer.model"):
        if path.is_file():
            told = read.FromString(path.read_bytes())
            return told if told.trainer_spec.model_type == _UNIGRAM else None
    return None
