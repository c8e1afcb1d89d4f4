"""What Ollama is asked: a recipe's settings are the model's own, and what is to be otherwise goes along."""

from poem_build.engine.ollama import Ollama
from poem_build.engine.protocol import Question


def test_what_is_to_be_otherwise_goes_along_with_the_seed() -> None:
    asked = Question([{"role": "user", "content": "家"}], 7, ("題",), {"min_p": 0.1, "repeat_penalty": 1.2, "top_k": 9})
    body = Ollama("http://127.0.0.1:9", "model").body(asked)
    assert body["options"] == {"min_p": 0.1, "repeat_penalty": 1.2, "top_k": 9, "seed": 7}
    assert body["format"]["properties"]["title"]["enum"] == ["題"]
