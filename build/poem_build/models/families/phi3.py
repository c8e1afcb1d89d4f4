"""Microsoft's Phi-3.5: a marker a turn, which swallows the blanks behind it."""

from poem_build.models.family import Family

FAMILY = Family(
    name="phi3",
    stop=("<|end|>", "<|endoftext|>"),
    pre_tokenizer="default",  # llama.cpp reads the vocabulary from tokenizer.model
    tokenizer="llama.cpp's sources",
)
