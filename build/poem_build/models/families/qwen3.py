"""Qwen 3: ChatML, asked with its thoughts already ended, so that the answer is all that it writes.

The tags of thoughts are put together from halves in the chat template: Ollama takes one that holds both for that of a
model that thinks, and prefers it to ours.
"""

from poem_build.models.family import Family

FAMILY = Family(name="qwen3", stop=("<|im_end|>",), pre_tokenizer="qwen2", tokenizer="llama.cpp's sources")
