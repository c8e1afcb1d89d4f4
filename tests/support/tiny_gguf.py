"""A GGUF of a few hundred kilobytes with random weights: enough for llama.cpp to speak under a grammar."""

from pathlib import Path
from typing import Any

import numpy as np

from poem.game import builtin_game
from poem_build.models.converter import gguf as converters_gguf

gguf = converters_gguf()

WIDTH, HEADS, LAYERS, FEED = 64, 2, 1, 128
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny_gguf(
    path: Path,
    *,
    template: str = TEMPLATE,
    bytes_too: bool = True,
    seed: int = 7,
    width: int = WIDTH,
    feed: int = FEED,
    layers: int = LAYERS,
    vocabulary: Path | None = None,
    name: str = "tiny-random",
    stages: int = 1,
    told_layers: int | None = None,
    parts: int = 1,
) -> Path:
    """Write the model, with the vocabulary of another GGUF if one is given.

    It may tell of more layers than it has, and call itself one of several parts.

    llama.cpp dies of it without `bytes_too`, as its own vocabulary then cannot spell every text.
    """
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(name)
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_block_count(told_layers or layers)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_uint16("split.count", parts)
    writer.add_feed_forward_length(feed)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // HEADS)
    tokens = _copied(writer, vocabulary) if vocabulary else _made(writer, bytes_too)
    writer.add_chat_template(template)
    writer.add_string("mansion_poem.prompt_version", builtin_game().prompt_in(2 if stages == 2 else 1))
    writer.add_string("mansion_poem.stages", str(stages))
    rng = np.random.default_rng(seed)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, rng.normal(0, 0.05, shape).astype(np.float32))

    tensor("token_embd.weight", tokens, width)
    tensor("output.weight", tokens, width)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for n in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{n}.{name}.weight", np.ones(width, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{n}.{name}.weight", width, width)
        for name in ("ffn_gate", "ffn_up"):
            tensor(f"blk.{n}.{name}.weight", feed, width)
        tensor(f"blk.{n}.ffn_down.weight", width, feed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_tiny_adapter(path: Path, **told: str) -> Path:
    """An adapter for the model's queries that turns it into another, and says what it is told to."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 2.0)
    for key, text in told.items():
        writer.add_string(f"mansion_poem.{key}", text)
    writer.add_sampling_temp(0.25)
    rng = np.random.default_rng(11)
    for name in ("attn_v", "attn_output", "ffn_down"):
        rows, columns = (WIDTH, FEED) if name == "ffn_down" else (WIDTH, WIDTH)
        writer.add_tensor(f"blk.0.{name}.weight.lora_a", rng.normal(0, 0.3, (2, columns)).astype(np.float32))
        writer.add_tensor(f"blk.0.{name}.weight.lora_b", rng.normal(0, 0.3, (rows, 2)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _made(writer: Any, bytes_too: bool) -> int:
    """Write a vocabulary of our own; returns how many tokens it has."""
    tokens, scores, types = _vocabulary(bytes_too)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    return len(tokens)


def _copied(writer: Any, vocabulary: Path) -> int:
    """Write the file's; returns how many tokens it has."""
    reader = gguf.GGUFReader(vocabulary)
    for field in reader.fields.values():
        if field.name.startswith("tokenizer.") and field.name != gguf.Keys.Tokenizer.CHAT_TEMPLATE:
            kind, *of = field.types
            writer.add_key_value(field.name, field.contents(), kind, sub_type=of[-1] if of else None)
    return len(reader.get_field(gguf.Keys.Tokenizer.LIST).data)


def _vocabulary(bytes_too: bool) -> tuple[list[bytes], list[float], list[int]]:
    kind = gguf.TokenType
    tokens = [(b"<unk>", kind.UNKNOWN), (b"<s>", kind.CONTROL), (b"</s>", kind.CONTROL)]
    tokens += [(b"<|im_start|>", kind.CONTROL), (b"<|im_end|>", kind.CONTROL)]
    if bytes_too:
        tokens += [(f"<0x{n:02X}>".encode(), kind.BYTE) for n in range(256)]
    written = "".join(builtin_game().deck.catchphrases[:40]) + "".join(map(chr, range(0x3041, 0x3094))) + '。、{}":,\n▁'
    letters = sorted(set(written) | set("abcdefghijklmnopqrstuvwxyz"))
    tokens += [(letter.encode(), kind.NORMAL) for letter in letters]
    return [text for text, _ in tokens], [-float(n) for n in range(len(tokens))], [int(of) for _, of in tokens]
