"""OpenAI's gpt-oss: harmony, asked in the channel of final answers, so that it writes no thoughts."""

from poem_build.models.family import Family

FAMILY = Family(
    name="gpt_oss",
    stop=("<|return|>",),
    pre_tokenizer="gpt-4o",
    target_modules=("q_proj", "k_proj", "v_proj", "o_proj"),
)
