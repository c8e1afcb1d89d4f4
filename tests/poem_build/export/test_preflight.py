"""What the chain cannot take is refused before anything is trained, by its name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from transformers import PhimoeConfig

from poem.game import builtin_game
from poem_build.cli import pipeline
from poem_build.errors import GateError, ModelFileError
from poem_build.export import preflight
from poem_build.models.load import load_tokenizer
from poem_build.models.tensors import INDEX
from poem_build.recipe.schema import RECIPES, Recipe, load_recipe
from poem_build.store.artifact import Artifact
from poem_build.store.stage import Job
from support.chain import changed, workshop_of

GAME = builtin_game()
PHIMOE = "PhimoeForCausalLM: llama.cpp sends a token to other experts than the model does"


def test_another_split_is_caught_before_the_training(out: Path, recipe: Recipe, tmp_path: Path) -> None:
    names = pipeline.names(workshop_of(recipe, out))
    assert names.index("preflight") < names.index("train")
    shutil.copytree(out / "dataset", tmp_path / "dataset")
    wrong = workshop_of(changed(recipe, "base", pre_tokenizer="gpt-2"), tmp_path)
    with pytest.raises(GateError, match=r"base\.pre_tokenizer: \d+ of 50 texts get other token ids in llama\.cpp"):
        pipeline.make(wrong, "preflight")


def test_an_architecture_that_would_be_served_otherwise_is_refused(out: Path, recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(out / "dataset", tmp_path / "dataset")
    config = PhimoeConfig(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=8)
    config.architectures = ["PhimoeForCausalLM"]
    config.save_pretrained(tmp_path / "base")
    with pytest.raises(ModelFileError, match=PHIMOE):
        pipeline.make(workshop_of(changed(recipe, "base", path=tmp_path / "base"), tmp_path), "preflight")


def test_a_recipe_of_such_a_one_fetches_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=PHIMOE):
        pipeline.make(workshop_of(load_recipe("phi-3.5-moe"), tmp_path), "base")


def test_a_base_is_brought_once_there_is_a_data_set_to_try_it_on(tmp_path: Path) -> None:
    names = pipeline.names(workshop_of(load_recipe("qwen2.5-0.5b"), tmp_path))
    assert names[:4] == ["dataset", "base", "preflight", "train"]


def test_a_base_of_another_family_is_refused(out: Path, recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(out / "dataset", tmp_path / "dataset")
    with pytest.raises(
        ModelFileError, match=r"gemma ends a turn with <end_of_turn>, .*; families whose end is one: ch"
    ):
        pipeline.make(workshop_of(changed(recipe, "base", family="gemma"), tmp_path), "preflight")


def _config(folder: Path, **change: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), ": holds no weights; fetch it again"),
        (_cut, r"/model\.safetensors: cut short at "),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), r"/model\.safetensors: no whole safetensors"),
        (lambda folder: _config(folder, quantization_config={"quant_method": "gptq"}), r".*are quantized \(gptq\)"),
        (lambda folder: _config(folder, vocab_size=7000), ".*embed_tokens.weight is 6144×256, .* wants 7000×256"),
        (
            lambda folder: (folder / INDEX).write_text('{"weight_map": {"a": "gone"}}', "utf-8"),
            "/gone: no whole safetensors file",
        ),
    ],
    ids=["none", "cut", "empty", "quantized", "another shape", "a lost shard"],
)
def test_a_base_whose_weights_cannot_be_trained_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], told: str
) -> None:
    base = shutil.copytree(RECIPES / "tiny-base", tmp_path / "base")
    spoil(base)
    with pytest.raises(ModelFileError, match=rf"{base}{told}"):
        preflight.run(Job(load_recipe("tiny"), GAME, tmp_path, tmp_path, {"base": Artifact("base", base, {})}))


def test_a_vocabulary_that_cannot_spell_an_answer_is_refused(out: Path, recipe: Recipe, tmp_path: Path) -> None:
    """A unigram model without bytes, which has no token for the braces."""
    shutil.copytree(out / "dataset", tmp_path / "dataset")
    base = tmp_path / "base"
    assert recipe.base.path is not None
    shutil.copytree(recipe.base.path, base, ignore=shutil.ignore_patterns("artifact.json", "tokenizer*"))
    _unigram(base / "spiece.model")
    recipe = changed(recipe, "base", family="rinna")
    tokenizer = load_tokenizer(base)
    title = GAME.deck.catchphrases[0]
    assert tokenizer.decode(tokenizer.encode(title)) == title
    assert set(tokenizer.encode("{")) == {0, tokenizer.convert_tokens_to_ids("▁")}
    with pytest.raises(ModelFileError, match=r"base: its vocabulary has no token for what follows '.*' in an answer"):
        pipeline.make(workshop_of(changed(recipe, "base", path=base), tmp_path), "preflight")


def _unigram(path: Path) -> None:
    """Write a SentencePiece unigram model of the catch-copies; its unknown token is the first."""
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(GAME.deck.catchphrases),
            model_writer=file,
            model_type="unigram",
            vocab_size=600,
            hard_vocab_limit=False,
            num_threads=1,
            minloglevel=2,
        )
