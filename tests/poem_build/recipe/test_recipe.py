from pathlib import Path

import pytest
from pydantic import ValidationError

from poem_build.errors import RecipeError
from poem_build.recipe import presets
from poem_build.recipe.gate import luck
from poem_build.recipe.names import artifacts_folder, ollama_model
from poem_build.recipe.schema import RECIPES, load_recipe, recipe_names
from poem_build.recipe.shape import Shape
from poem_build.recipe.training import Train
from poem_build.store.artifact import Manifest
from poem_build.store.digest import sha256


def test_every_recipe_of_the_project_loads_under_its_own_name() -> None:
    assert recipe_names()
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("test = 6", "test = 1", "dataset.test: Input should be greater than or equal to 2, got 1"),
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
        (
            'dtype = "float32"',
            'dtype = "int8"',
            "train.dtype: Input should be 'auto', 'float32', 'bfloat16'",
        ),
        ('dtype = "float32"', 'method = "full"\nbits = 8', "train: bits: full holds its weights in 16 bits, got 8"),
        (
            "batch = 8",
            'batch = 10\nmicro_batch = 4\nmethod = "dpo"\npreferences = "pairs.jsonl"',
            "train: micro_batch: dpo takes whole ones, and 4 does not divide batch, 10; give one that does",
        ),
        (
            'dtype = "float32"',
            'method = "dpo"',
            "train: preferences: dpo needs a JSONL of prompt, chosen ",
        ),
        ("epochs = 1\n", "", "train.epochs: Field required"),
        ('name = "mini"', 'name = "Mini!"', "name: String should match pattern"),
        ("eval_pass = 0.0", "eval_pass = 90", "gate.eval_pass: Input should be less than or equal to 1, got 90"),
        ('family = "chatml"', 'family = "other"', "base: family: there is no 'other'; families are chatml, gemma, "),
        (
            "smoke_hands = 2\nsmoke_pass = 0.0",
            "smoke_hands = 3\nsmoke_pass = 0.3",
            "gate: smoke_pass: a model that answers 10% of the hands would pass 27.1% of the time with 30% of 3",
        ),
        ("[train]", "[train", "not TOML"),
        ("smoke_hands = 2", "smoke_hands = 20", "gate.smoke_hands: more hands than dataset.test has, 6"),
        ("hidden_size = 256", "hidden_size = 250", "pretrain: hidden_size and intermediate_size must be multiples"),
        ("kv_heads = 2", "kv_heads = 3", "pretrain: heads must divide hidden_size, and kv_heads must divide heads"),
        (
            "learning_rate = 1e-2",
            "learning_rate = inf",
            "train.learning_rate: Input should be a finite number, got inf",
        ),
        ("[train]", "[train]\nweight_decay = inf", "train.weight_decay: Input should be a finite number, got inf"),
        ("repeat_penalty = 1.1", "repeat_penalty = inf", "serve.repeat_penalty: Input should be a finite number, got "),
        ("r = 8", "r = true", "train.r: Input should be a valid integer, got True"),
        ("epochs = 1\n", "epochs = 1\nseed = true\n", "train.seed: Input should be a valid integer, got True"),
        ("batch = 8", "batch = 8\nmicro_batch = 9", "train: micro_batch: is beyond batch, 8, of which it is a part"),
        (
            "smoke_hands = 2\nsmoke_pass = 0.0",
            "smoke_hands = 1000000\nsmoke_pass = 0.4",
            "gate.smoke_hands: more hands",
        ),
        ("num_ctx = 3072", "num_ctx = 4096", "serve.num_ctx: is beyond pretrain.context, 3072"),
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


def test_a_recipe_that_says_its_shape_is_trained_as_its_size_asks(tmp_path: Path) -> None:
    small, middle, large = (load_recipe(name).training for name in ("qwen2.5-3b", "elyza-llama2-7b", "qwen2.5-32b"))
    assert (small.r, small.lora_alpha, small.lora_dropout, small.learning_rate) == (8, 16, 0.1, 2e-4)
    assert (middle.r, middle.lora_alpha, middle.lora_dropout) == (16, 32, 0.1)
    assert (large.r, large.lora_alpha, large.lora_dropout) == (32, 64, 0.05)
    told = [(train.batch, train.micro_batch, train.gradient_checkpointing) for train in (small, middle, large)]
    assert told == [(32, 1, False), (32, 1, False), (8, 4, True)]
    text = (RECIPES / "qwen2.5-7b.toml").read_text("utf-8")
    own = tmp_path / "own.toml"
    own.write_text(text.replace("[train]\n", "[train]\nr = 5\nmicro_batch = 3\n[gate]\neval_hands = 7\n"), "utf-8")
    recipe = load_recipe(str(own))
    assert (recipe.training.r, recipe.training.micro_batch, recipe.training.batch) == (5, 3, 32)
    assert (recipe.gate.eval_hands, recipe.gate.smoke_hands) == (7, 10)
    own.write_text(text.replace("kv_heads = 4", "kv_heads = 3"), "utf-8")
    with pytest.raises(RecipeError, match=r"shape: kv_heads: must divide heads"):
        load_recipe(str(own))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('bits = "4"', "train.bits: Input should be 4, 8 or 16, got '4'"),
        ("bits = [4]", "train.bits: Input should be 4, 8 or 16, got [4]"),
        ('batch = "32"', "train.batch: Input should be a valid integer, got '32'"),
    ],
)
def test_a_number_that_is_none_is_named_where_presets_reckon_with_it(tmp_path: Path, line: str, message: str) -> None:
    text = (RECIPES / "qwen2.5-7b.toml").read_text("utf-8")
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace("[train]\n", f"[train]\n{line}\n"), "utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(bad))
    assert str(caught.value) == f"{bad}: {message}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_ctx = 1024", "num_ctx = 4096", "serve.num_ctx: is beyond shape.context, 1024"),
        ('revision = "main"', 'revision = ""', "base.revision: String should have at least 1 character, got ''"),
    ],
)
def test_what_a_base_of_the_hub_cannot_have_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (RECIPES / "rinna-gpt2-small.toml").read_text("utf-8")
    assert old in text
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(bad))
    assert str(caught.value) == f"{bad}: {message}"


def _shape(size: float, **more: int) -> Shape:
    told = {"vocab_size": 1, "hidden_size": 1000, "intermediate_size": round(size * 1e9 / 3000), "layers": 1}
    told |= {"heads": 1, "kv_heads": 1, "head_dim": 1, "context": 1, **more}
    return Shape.model_validate({"architecture": "A", **told})


@pytest.mark.parametrize(
    ("size", "bits", "method", "rate", "batch", "offload", "launch"),
    [
        (1.5, 16, "lora", 2e-4, 32, "none", "single"),
        (7.6, 8, "lora", 2e-4, 32, "none", "single"),
        (22.5, 8, "lora", 2e-4, 8, "optimizer", "single"),
        (32.8, 4, "qlora", 1e-4, 8, "none", "single"),
        (70.6, 4, "qlora", 1e-4, 4, "optimizer", "single"),
        (140.6, 4, "qlora", 1e-4, 4, "layers", "zero3"),
    ],
)
def test_presets_are_the_table_s(
    size: float, bits: int, method: str, rate: float, batch: int, offload: str, launch: str
) -> None:
    shape = _shape(size)
    found = presets.training(shape, {})
    expected = {"bits": bits, "method": method, "learning_rate": rate, "batch": batch, "offload": offload}
    assert {name: found[name] for name in (*expected, "launch")} == {**expected, "launch": launch}
    assert presets.training(shape, {"method": "full"})["schedule"] == "cosine"
    assert {name: presets.training(shape, {"method": name})["bits"] for name in ("full", "qlora", "unsloth")} == {
        **{"full": 16, "qlora": 4, "unsloth": 4}
    }
    assert found.get("gradient_checkpointing", False) == (size > 20)


@pytest.mark.parametrize(("size", "bits"), [(1.5, 16), (7.6, 8), (32.8, 8)])
def test_lora_on_a_large_model_takes_the_fewest_bits_that_it_has(size: float, bits: int) -> None:
    found = presets.training(_shape(size), {"method": "lora"})
    assert Train.model_validate(found).bits == bits


def test_unsloth_refuses_tokens_that_it_would_not_train() -> None:
    given = {"method": "unsloth", "learning_rate": 1e-4, "epochs": 1, "batch": 8}
    with pytest.raises(ValidationError, match="new_tokens: unsloth trains none"):
        Train.model_validate(given | {"new_tokens": ["<|im_start|>"]})
    assert Train.model_validate(given).new_tokens == ()


def test_experts_are_never_planned_in_fewer_bits_and_layers_only_move_with_deepspeed() -> None:
    mixture = _shape(20, experts=8, experts_used=2)
    found = presets.training(mixture, {})
    assert (found["bits"], found["method"], found["offload"], found["launch"]) == (16, "lora", "layers", "zero3")
    shared = presets.training(mixture, {"launch": "ddp"})
    assert (shared["launch"], shared["offload"]) == ("ddp", "optimizer")


def test_nothing_is_trained_without_the_table_that_says_how() -> None:
    recipe = load_recipe("llama-3.1-70b")
    assert recipe.train is None
    with pytest.raises(RecipeError, match=r"recipe llama-3\.1-70b: has no \[train\]: its base is served as it is"):
        _ = recipe.training


def test_an_adapter_is_not_ignored_by_a_recipe_that_trains_nothing(tmp_path: Path) -> None:
    text = (RECIPES / "llama-3.1-70b.toml").read_text("utf-8")
    bad = tmp_path / "bad.toml"
    bad.write_text(f'adapter = "theirs"\n{text}', "utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(bad))
    assert str(caught.value) == f"{bad}: adapter: needs [train], which says how it was trained; add that or remove it"


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"recipe 'huge': no such recipe; known are .*tiny"):
        load_recipe("huge")


def test_a_base_folder_is_named_from_the_recipes_own_place(tmp_path: Path, recipe_file: Path) -> None:
    text = recipe_file.read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("path"))
    (tmp_path / "here.toml").write_text(text.replace(line, 'path = "near"'), "utf-8")
    assert load_recipe(str(tmp_path / "here.toml")).base.path == tmp_path / "near"


def test_what_only_says_where_or_when_or_what_passes_is_no_part_of_a_key(recipe_file: Path) -> None:
    sections = load_recipe(str(recipe_file)).model_dump()
    assert set(sections["base"]) == {"family", "pre_tokenizer"}
    assert "checkpoint_s" not in sections["train"]
    assert {name for name in sections["gate"] if not name.endswith(("hands", "texts", "poems"))} == set()


def test_a_game_s_name_stands_behind_the_recipe_s_and_the_built_in_one_nowhere() -> None:
    assert (ollama_model("tiny", ""), ollama_model("tiny", "our-game")) == (
        "mansion-poem:tiny",
        "mansion-poem:tiny-our-game",
    )
    assert artifacts_folder("tiny", "our-game") == Path("artifacts/tiny-our-game")


def test_the_base_that_ships_is_what_its_recipe_makes() -> None:
    recipe = load_recipe("tiny")
    assert recipe.pretrain is not None
    assert recipe.base.path is not None
    made = Manifest.model_validate_json((recipe.base.path / "artifact.json").read_text("utf-8"))
    told = recipe.pretrain.model_dump(mode="json")
    phase = told.pop("phases")[-1]
    assert made.key.settings == {"pretrain": told, "phase": phase}
    assert {name: sha256(recipe.base.path / name) for name in made.files} == made.files
    assert sum(path.stat().st_size for path in recipe.base.path.iterdir()) <= 16 * 2**20


@pytest.mark.parametrize(
    ("hands", "share", "skill", "chance"),
    [(3, 0.3, 0.1, 0.271), (10, 0.4, 0.1, 0.0128), (10, 0.4, 0.9, 0.99985), (2000, 0.1, 0.1, 0.511)],
)
def test_luck_is_reckoned(hands: int, share: float, skill: float, chance: float) -> None:
    assert luck(hands, share, skill) == pytest.approx(chance, rel=0.01)


def test_no_recipe_s_smoke_test_lets_a_bad_model_through_or_a_good_one_fail() -> None:
    recipes = [load_recipe(name) for name in recipe_names()]
    for gate in (recipe.gate for recipe in recipes if recipe.train):
        assert luck(gate.smoke_hands, gate.smoke_pass, 0.1) <= 0.05
        assert luck(gate.smoke_hands, gate.smoke_pass, 0.75) >= 0.99
