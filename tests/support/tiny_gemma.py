"""A GGUF of Gemma's shape with next to no weights: sliding windows, tied embeddings, turns without a system role.

Its vocabulary is a SentencePiece BPE with byte fallback and Gemma's special tokens, and it is Q4_K_M, made by the
converter and the quantizer of the chain: what the chain does with the real one's file, it does with this.
"""

import io
from pathlib import Path

import sentencepiece
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from poem.prompt import default_instructions
from poem_build.data.corpus import vocabulary as all_texts
from poem_build.export.gguf import convert_folder
from poem_build.export.quantization import quantize_file
from poem_build.models.origin import Origin
from poem_build.recipe.schema import Recipe

TURNS = ("<start_of_turn>", "<end_of_turn>")
WIDTH, HEAD, FEED, LAYERS, WINDOW = 320, 256, 512, 6, 64
"""Rows of 320 are no multiple of 256, as the real model's of 640 are none: K-quants cannot take them. A GGUF does not
tell by what attention is scaled; transformers then takes heads of 256 for granted, which the real one has."""


def write_tiny_gemma(path: Path, work: Path, recipe: Recipe, *, pieces: int = 2000, seed: int = 5) -> Path:
    """Write the GGUF; `work` is an empty folder for what it is made of."""
    (work / "tokenizer.model").write_bytes(vocabulary(pieces))
    torch.manual_seed(seed)
    config = Gemma3TextConfig(
        vocab_size=pieces,
        hidden_size=WIDTH,
        intermediate_size=FEED,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=HEAD,
        query_pre_attn_scalar=HEAD,
        sliding_window=WINDOW,
        max_position_embeddings=4096,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        dtype="bfloat16",
    )
    Gemma3ForCausalLM(config).to(torch.bfloat16).save_pretrained(work)
    convert_folder(work, work / "f16.gguf", recipe, Origin(game="", game_digest="none", prompt_version="none"))
    quantize_file(work / "f16.gguf", path, "Q4_K_M")
    return path


def vocabulary(size: int) -> bytes:
    """The bytes of a tokenizer.model with so many pieces."""
    texts = [*default_instructions().split("\n"), *all_texts()[1:]]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        character_coverage=0.98,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        control_symbols=["<mask>", *TURNS],
        user_defined_symbols=["\n", "\n\n"],
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()
