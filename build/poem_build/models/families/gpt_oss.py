"""OpenAI's gpt-oss: harmony, asked in the channel of final answers, so that it writes no thoughts.

Ollama takes a TEMPLATE that holds both `<|start|>` and `<|end|>` for harmony, and reads answers by a parser that waits
for a channel's name. The channel stands in our prompt, so ours puts the first marker together from its parts.
"""

from poem_build.models.family import Family

FAMILY = Family(
    name="gpt_oss",
    stop=("<|return|>",),
    pre_tokenizer="gpt-4o",
    target_modules=("q_proj", "k_proj", "v_proj", "o_proj"),
)
