"""Stability AI's Japanese StableLM: a task, what it is given and the answer, under headings, as its makers asked it."""

from poem_build.models.family import Family

FAMILY = Family(name="stablelm", stop=("<|endoftext|>",), pre_tokenizer="gpt-2")
