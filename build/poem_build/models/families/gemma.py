"""Google's Gemma: no system role, so the instructions open the first turn."""

from poem_build.models.family import Family

FAMILY = Family(
    name="gemma",
    stop=("<end_of_turn>",),
    # Where there is no tokenizer.model; with one llama.cpp reads the vocabulary from that.
    pre_tokenizer="gemma4",
    tokenizer="`make real`",
    licence="Gemma Terms of Use",  # they bind whatever is derived from one of its models (section 1.1 (e))
)
