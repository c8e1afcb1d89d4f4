"""Mistral's Mixtral: no system role, so the instructions open the first turn."""

from poem_build.models.family import Family

FAMILY = Family(
    name="mixtral",
    stop=("</s>",),
    pre_tokenizer="default",  # llama.cpp reads the vocabulary from tokenizer.model
    target_modules=("q_proj", "k_proj", "v_proj", "o_proj"),  # every expert would take eight times the adapter
)
