"""DeepSeek-R1 distilled into Qwen 2.5: asked with its thoughts already ended, as Qwen 3 is."""

from poem_build.models.family import Family

FAMILY = Family(name="r1_qwen", stop=("<｜end▁of▁sentence｜>",), pre_tokenizer="deepseek-r1-qwen")
