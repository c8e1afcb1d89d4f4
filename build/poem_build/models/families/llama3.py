"""Meta's Llama 3.1: a header a turn; in the first the dates that its own template writes when it is told none."""

from poem_build.models.family import Family

FAMILY = Family(
    name="llama3", stop=("<|eot_id|>", "<|end_of_text|>"), pre_tokenizer="llama-bpe", tokenizer="llama.cpp's sources"
)
