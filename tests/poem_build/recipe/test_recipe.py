import json
from pathlib import Path

import pytest

from poem_build.errors import RecipeError
from poem_build.recipe.schema import load_recipe, recipe_names
from poem_build.store.artifact import sha256


def test_every_recipe_of_the_project_loads_under_its_own_name() -> None:
    assert recipe_names()
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.ollama_model == f"mansion-poem:{name}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("r = 8", "r = 0", "train.r: Input should be greater than or equal to 1, got 0"),
        (
            "r = 8",
            "rank = 8\nr = 8",
            "train.rank: Extra inputs are not permitted; remove it or correct its name",
        ),
        (
            "r = 8",
            "r = 8\npatience = 2",
            "train: patience: counts looks at the validation loss; give",
        ),
        ('dtype = "float32"', 'dtype = "float16"', "train.dtype: Input should be 'auto', 'float32' or 'bfloat16'"),
        ("r = 8\n", "", "train.r: Field required"),
        ('name = "mini"', 'name = "Mini!"', "name: String should match pattern"),
        ("eval_pass = 0.0", "eval_pass = 90", "gate.eval_pass: Input should be less than or equal to 1, got 90"),
        ('family = "chatml"', 'family = "other"', "base: family: modelfiles/ has no other.chat.jinja; families are"),
        ("[train]", "[train", "not TOML"),
        ("eval_hands = 2", "eval_hands = 20", "gate: plays more hands than dataset.test has, 6"),
        ("hidden_size = 256", "hidden_size = 250", "pretrain: hidden_size and intermediate_size must be multiples"),
        ("kv_heads = 2", "kv_heads = 3", "pretrain: heads must divide hidden_size, and kv_heads must divide heads"),
        ("num_ctx = 2048", "num_ctx = 4096", "serve.num_ctx: is beyond pretrain.context, 2048"),
        ('summary = "the', 'summary = "the\\n', "summary: String should match pattern"),
    ],
)
def test_a_bad_recipe_names_file_and_field(tmp_path: Path, recipe_file: Path, old: str, new: str, message: str) -> None:
    text = recipe_file.read_text("utf-8")
    assert old in text
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(bad))
    assert str(caught.value).startswith(f"{bad}: {message}")
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"recipe 'huge': no such recipe; known are .*tiny"):
        load_recipe("huge")


def test_a_base_folder_is_named_from_the_recipes_own_place(tmp_path: Path, recipe_file: Path) -> None:
    text = recipe_file.read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("path"))
    (tmp_path / "here.toml").write_text(text.replace(line, 'path = "near"'), "utf-8")
    assert load_recipe(str(tmp_path / "here.toml")).base.path == tmp_path / "near"


def test_the_base_that_ships_is_what_its_recipe_makes() -> None:
    recipe = load_recipe("tiny")
    assert recipe.pretrain is not None
    made = json.loads((recipe.base.path / "artifact.json").read_text("utf-8"))
    told = recipe.pretrain.model_dump()
    assert made["settings"] == {key: value for key, value in told.items() if key != "phases"} | {
        "phase": told["phases"][-1]
    }
    assert {name: sha256(recipe.base.path / name) for name in made["files"]} == made["files"]
    assert sum(path.stat().st_size for path in recipe.base.path.iterdir()) <= 16 * 2**20
