"""ChatML, as Qwen's models and the bases that are made here have it."""

from poem_build.models.family import Family

FAMILY = Family(name="chatml", stop=("<|im_end|>",), pre_tokenizer="qwen2", tokenizer="llama.cpp's sources")
