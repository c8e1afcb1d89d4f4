"""Meta's Llama 2, and what was made of it, ELYZA's models for one: the instructions stand in the first turn."""

from poem_build.models.family import Family

FAMILY = Family(
    name="llama2",
    stop=("</s>",),
    pre_tokenizer="default",  # where there is no tokenizer.model; with one llama.cpp reads the vocabulary from that
    tokenizer="llama.cpp's sources",
    licence="Llama 2 Community License",  # its models and what is derived from them (section 1.b)
)
