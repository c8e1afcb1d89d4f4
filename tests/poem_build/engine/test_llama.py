"""A real llama.cpp with a model of random weights: a recipe's sampling, seen in what it writes; adapters refused."""

from pathlib import Path

import pytest

from poem.model_keys import ADAPTER_FILE
from poem_build.engine.llama import Llama
from poem_build.errors import ModelFileError, UnfinishedError
from poem_build.recipe.schema import Serve

PROMPT = "<|im_start|>user\n家<|im_end|>\n<|im_start|>assistant\n"
FLAT = Serve(num_ctx=512, num_predict=24, temperature=2.0, top_p=1.0, top_k=100_000)
"""Whatever is cut off is cut by the setting that a test changes."""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    from support.tiny_gguf import write_tiny_gguf

    return Llama(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "model.gguf"), FLAT.num_ctx)


def _written(llama: Llama, seed: int, **change: float) -> tuple[bytes, ...]:
    found = []
    try:
        for piece in llama.pieces(PROMPT, FLAT.model_copy(update=change), seed):
            found.append(piece)
    except UnfinishedError:
        pass
    return tuple(found)


def _kinds(llama: Llama, **change: float) -> int:
    """How many different texts four seeds write."""
    return len({_written(llama, seed, **change) for seed in range(4)})


def test_without_a_limit_every_seed_writes_another_text(llama: Llama) -> None:
    assert _kinds(llama) == 4
    assert _written(llama, 1) == _written(llama, 1)


@pytest.mark.parametrize(
    "change",
    [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-6}],
    ids=lambda change: next(iter(change)),
)
def test_each_setting_alone_leaves_the_likeliest_token(llama: Llama, change: dict[str, float]) -> None:
    assert _kinds(llama, **change) == 1


def test_a_penalty_takes_the_likeliest_tokens_away_once_they_are_written(llama: Llama) -> None:
    def repeats(penalty: float) -> int:
        texts = [_written(llama, seed, num_predict=60, top_k=8, repeat_penalty=penalty) for seed in range(6)]
        return sum(len(text) - len(set(text)) for text in texts)

    assert repeats(1e6) < repeats(1.0) / 4


def test_an_answer_ends_after_num_predict(llama: Llama) -> None:
    assert len(_written(llama, 1, num_predict=5)) == 5


@pytest.mark.parametrize("damage", ["cut short", "no GGUF", "another base"])
def test_an_adapter_that_llama_cpp_would_die_of_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    from support.tiny_gguf import WIDTH, write_tiny_adapter, write_tiny_gguf

    model = write_tiny_gguf(tmp_path / "model.gguf", width=WIDTH * (2 if damage == "another base" else 1))
    whole = write_tiny_adapter(tmp_path / ADAPTER_FILE).read_bytes()
    spoilt = {"cut short": whole[:-100], "no GGUF": b"GGUF no more", "another base": whole}[damage]
    (tmp_path / ADAPTER_FILE).write_bytes(spoilt)
    with pytest.raises(ModelFileError, match=r"^\S+adapter\.gguf: llama\.cpp cannot load it on model\.gguf; .*anew$"):
        Llama(model, 64)
    assert Llama(model, vocab_only=True).tokenize("家")
