"""A recipe → a folder with a random model of its base's architecture, shrunk, and a tokenizer of its family's kind.

The tokenizers are trained here, on our own texts, with the family's split, normalizer and markers. A base → an adapter
of random numbers.
"""

import io
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import peft
import sentencepiece
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from poem.prompt import default_instructions
from poem_build.data.corpus import vocabulary as all_texts
from poem_build.recipe.schema import Recipe
from support.tiny_gemma import TURNS
from support.tiny_gemma import vocabulary as gemma_vocabulary

EVERY_FAMILY = (
    *("qwen2.5-0.5b", "qwen3-0.6b", "calm3-22b", "deepseek-r1-distill-qwen-32b-japanese", "elyza-llama2-7b"),
    *("llama-3.1-8b", "rinna-gpt2-small", "stablelm-3b", "phi-3.5-mini", "gemma-2-2b-jpn", "gemma-3-1b"),
    *("gemma-3-4b", "mixtral-8x22b", "gpt-oss-20b"),
)
"""One of each family and architecture."""
VOCABULARY = 2000
PADDED = 2048
"""Rows of the embedding; real models have a few more than tokens too."""
CONTEXT = 4096
WINDOW = 64
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Bytes:
    """A byte-level BPE: its split (GPT-2's own where none is given), its markers, and what opens and ends a text."""

    split: str
    markers: tuple[str, ...]
    bos: str | None
    eos: str
    nfc: bool = False

    def write(self, folder: Path) -> None:
        """Write tokenizer.json and its settings."""
        tokenizer = tokenizers.Tokenizer(models.BPE())
        if self.nfc:
            tokenizer.normalizer = normalizers.NFC()
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not self.split)
        split = [pre_tokenizers.Split(tokenizers.Regex(self.split), "isolated")] if self.split else []
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, whole])
        tokenizer.decoder = decoders.ByteLevel()
        special = [*dict.fromkeys(filter(None, (self.bos, self.eos, *self.markers)))]
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            max_token_length=30,
            show_progress=False,
        )
        tokenizer.train_from_iterator(_texts(), trainer)
        if self.bos:
            bos = self.bos
            tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
                single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
            )
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token=self.bos, eos_token=self.eos, pad_token=self.eos
        ).save_pretrained(folder)
        if self.bos:
            _change(folder / "tokenizer_config.json", add_bos_token=True)


@dataclass(frozen=True)
class Pieces:
    """A SentencePiece model with Llama's special tokens: BPE with byte fallback, or unigram without."""

    markers: tuple[str, ...] = ()
    unigram: bool = False
    strips: bool = False
    """Whether a marker swallows the blanks behind it."""

    def write(self, folder: Path, required: str = '{}":,\\nABC') -> None:
        """Write the file, the settings that go with it, and tokenizer.json."""
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(_texts()),
            model_writer=model,
            model_type="unigram" if self.unigram else "bpe",
            vocab_size=VOCABULARY - len(self.markers),
            character_coverage=1.0 if self.unigram else 0.98,  # without bytes each character has to be there
            required_chars=required if self.unigram else "",
            byte_fallback=not self.unigram,
            normalization_rule_name="nmt_nfkc" if self.unigram else "identity",
            remove_extra_whitespaces=self.unigram,
            max_sentence_length=20000,
            num_threads=1,
            minloglevel=2,
        )
        (folder / ("spiece.model" if self.unigram else "tokenizer.model")).write_bytes(model.getvalue())
        added = {0: "<unk>", 1: "<s>", 2: "</s>"}
        added |= dict(enumerate(self.markers, VOCABULARY - len(self.markers)))
        told: dict[str, Any] = {
            "tokenizer_class": "T5Tokenizer" if self.unigram else "LlamaTokenizer",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "</s>",
        }
        if self.unigram:
            told["extra_ids"] = 0
        else:
            told |= {
                "add_bos_token": True,
                "legacy": True,
                "added_tokens_decoder": {
                    str(n): {
                        **{"content": text, "lstrip": False, "normalized": False, "single_word": False},
                        **{"rstrip": self.strips and text in self.markers, "special": True},
                    }
                    for n, text in added.items()
                },
            }
        (folder / "tokenizer_config.json").write_text(json.dumps(told), "utf-8")
        if not self.unigram:  # as published, for the families that have no class of their own
            transformers.LlamaTokenizer.from_pretrained(folder).backend_tokenizer.save(str(folder / "tokenizer.json"))
        if self.markers:
            (folder / "added_tokens.json").write_text(
                json.dumps({text: n for n, text in added.items() if text in self.markers}), "utf-8"
            )


class Gemma:
    """A SentencePiece BPE with Gemma's special tokens, no blank before a text, and line breaks as tokens."""

    def write(self, folder: Path) -> None:
        """Write the file and the settings that go with it."""
        (folder / "tokenizer.model").write_bytes(gemma_vocabulary(VOCABULARY))
        told: dict[str, Any] = {"tokenizer_class": "GemmaTokenizer"}
        told |= {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
        added = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *TURNS]
        flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
        decoder = {str(n): {"content": text, **flags} for n, text in enumerate(added)}
        told |= {"pad_token": "<pad>", "added_tokens_decoder": decoder, "add_bos_token": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(told), "utf-8")


KINDS: dict[str, Bytes | Pieces | Gemma] = {
    "gemma": Gemma(),
    "chatml": Bytes(QWEN2, ("<|im_start|>", "<|im_end|>"), None, "<|endoftext|>"),
    "qwen3": Bytes(QWEN2, ("<|im_start|>", "<|im_end|>", "<think>", "</think>"), None, "<|endoftext|>", nfc=True),
    "r1_qwen": Bytes(
        QWEN2,
        ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
    ),
    "llama3": Bytes(
        LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|begin_of_text|>", "<|end_of_text|>"
    ),
    "gpt_oss": Bytes(
        GPT4O,
        ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>", "<|call|>"),
        None,
        "<|endoftext|>",
    ),
    "stablelm": Bytes("", (), None, "<|endoftext|>", nfc=True),
    "rinna": Pieces(unigram=True),
    "llama2": Pieces(),
    "mixtral": Pieces(("[INST]", "[/INST]")),
    "phi3": Pieces(("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), strips=True),
}
"""By family."""


def write_small_model(folder: Path, recipe: Recipe, seed: int = 5) -> Path:
    """Write it; what the recipe's shape says of heads, ties, experts and windows is kept as far as it can be small."""
    folder.mkdir(parents=True, exist_ok=True)
    KINDS[recipe.base.family].write(folder)
    torch.manual_seed(seed)
    model = _model(recipe).to(torch.bfloat16)
    model.save_pretrained(folder)
    return folder


def write_small_adapter(base: Path, folder: Path, seed: int = 2, **options: Any) -> Path:
    """A LoRA of random numbers for a base, strong enough that half of its strength is another model."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    torch.manual_seed(seed)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=12, task_type="CAUSAL_LM", **options))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    adapted.save_pretrained(folder)
    return folder


def _model(recipe: Recipe) -> Any:
    shape = recipe.shape
    assert shape is not None
    known = getattr(transformers, shape.architecture)
    sizes: dict[str, Any] = {
        "vocab_size": PADDED,
        "hidden_size": 256,
        "intermediate_size": 256,
        "num_hidden_layers": max(2, shape.full_every),
        "num_attention_heads": 4,
        "num_key_value_heads": 4 if shape.kv_heads == shape.heads else 2,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": shape.tied,
        **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    }
    if shape.architecture == "GPT2LMHeadModel":
        for name in ("intermediate_size", "num_key_value_heads"):
            del sizes[name]
    if shape.head_dim != shape.hidden_size // shape.heads:
        sizes["head_dim"] = 64
    if shape.experts:
        sizes |= {"num_local_experts": 4, "num_experts_per_tok": 2}
    if shape.window:
        sizes["sliding_window"] = WINDOW
    if recipe.base.family == "gemma":
        sizes |= {"query_pre_attn_scalar": 64, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    if shape.architecture == "Gemma3ForConditionalGeneration":
        vision = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
        sizes = {"text_config": sizes, "vision_config": vision | {"image_size": 64, "patch_size": 16}}
    return known(known.config_class(**sizes))


@cache
def _texts() -> list[str]:
    return [line for text in (default_instructions(), *all_texts()) for line in re.split("\n", text) if line]


def _change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")
