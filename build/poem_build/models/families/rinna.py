"""rinna's Japanese GPT-2, which has met no chat: turns are told apart by lines that its vocabulary can spell."""

from poem_build.models.family import Family

FAMILY = Family(name="rinna", stop=("</s>",), pre_tokenizer="default")
