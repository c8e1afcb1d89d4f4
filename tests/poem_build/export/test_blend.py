"""Several adapters with weights become one, which changes the base by the weighted sum of what each does."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from click.testing import CliRunner
from safetensors.torch import load_file

from poem_build.cli.main import cli
from poem_build.errors import ModelFileError
from poem_build.export.blend import blend
from poem_build.export.merge import merge_weights
from poem_build.models import tensors
from poem_build.models.origin import Origin, read_origin, write_origin
from poem_build.recipe.schema import load_recipe
from support.small_models import write_small_adapter

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's advice on what we ask for on purpose
ORIGIN = Origin(game="", game_digest="0", prompt_version="1")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    config = transformers.Qwen2Config(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=100,
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).float().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def _adapter(base: Path, seed: int, origin: Origin = ORIGIN, place: Path | None = None, **options: Any) -> Path:
    folder = (place or base.parent) / f"adapter-{seed}"
    write_small_adapter(base, folder, seed, target_modules=["q_proj"], **options)
    write_origin(folder, origin)
    return folder


def _delta(base: Path, adapter: Path, target: Path) -> torch.Tensor:
    target.mkdir()
    merge_weights(base, adapter, target)
    name = "model.layers.0.self_attn.q_proj.weight"
    return tensors.places(target)[name].whole() - tensors.places(base)[name].whole()


def test_the_blend_changes_the_base_by_the_weighted_sum(base: Path, tmp_path: Path) -> None:
    one, two = _adapter(base, 1), _adapter(base, 2)
    blend(base, [(one, 0.7), (two, 0.3)], "cat", tmp_path / "blend")
    expected = 0.7 * _delta(base, one, tmp_path / "one") + 0.3 * _delta(base, two, tmp_path / "two")
    found = _delta(base, tmp_path / "blend", tmp_path / "both")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert read_origin(tmp_path / "blend") == ORIGIN
    assert {path.name for path in (tmp_path / "blend").iterdir() if path.is_dir()} == set()


@pytest.mark.parametrize("method", ["linear", "svd", "ties"])
def test_the_other_methods_give_an_adapter_that_merges(base: Path, tmp_path: Path, method: Any) -> None:
    one, two = _adapter(base, 1), _adapter(base, 2)
    blend(base, [(one, 1.0), (two, 1.0)], method, tmp_path / "blend")
    assert load_file(tmp_path / "blend" / "adapter_model.safetensors")
    assert _delta(base, tmp_path / "blend", tmp_path / "both").abs().max() > 0


def test_what_peft_would_leave_out_in_silence_is_refused(base: Path, tmp_path: Path) -> None:
    one = _adapter(base, 1)
    with pytest.raises(ModelFileError, match=r"adapter-2: cannot be blended: trainable_token_indices: peft leaves"):
        blend(base, [(one, 1.0), (_adapter(base, 2, trainable_token_indices=[3]), 1.0)], "cat", tmp_path / "blend")
    with pytest.raises(ModelFileError, match=r"adapter-3: cannot be blended: use_dora is True; merge it alone"):
        blend(base, [(one, 1.0), (_adapter(base, 3, use_dora=True), 1.0)], "cat", tmp_path / "blend")
    other = _adapter(base, 4, ORIGIN.model_copy(update={"prompt_version": "2"}))
    with pytest.raises(ModelFileError, match=r"adapter-4: was trained on another prompt than .*adapter-1; train both"):
        blend(base, [(one, 1.0), (other, 1.0)], "cat", tmp_path / "blend")
    assert not (tmp_path / "blend").exists()


@pytest.mark.parametrize("method", ["linear", "dare_ties"])
def test_a_method_of_one_rank_refuses_two_by_their_adapters(base: Path, tmp_path: Path, method: Any) -> None:
    one, two = _adapter(base, 1), _adapter(base, 2, rank_pattern={"q_proj": 8})
    with pytest.raises(ModelFileError, match=rf"{two}: r is 8, that of {one} is 4, .*; give --method cat or svd"):
        blend(base, [(one, 1.0), (two, 1.0)], method, tmp_path / "blend")
    assert not (tmp_path / "blend").exists()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (b'{"game": ""}', "game_digest: Field required"),
        (b"\xff", "JSON: Invalid JSON: "),
        (b"", "JSON: Invalid JSON: "),
    ],
)
def test_an_origin_that_is_damaged_or_of_another_version_is_named(tmp_path: Path, damage: bytes, told: str) -> None:
    (tmp_path / "origin.json").write_bytes(damage)
    with pytest.raises(ModelFileError) as refused:
        read_origin(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path}/origin.json: {told}")
    assert "of another version or damaged; give what `train` or `blend` of this version left" in str(refused.value)


def test_what_is_blended_goes_on_to_a_quantized_model(recipe_file: Path, out: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "plain.toml"
    recipe.write_text(f"{recipe_file.read_text('utf-8')}[quantize]\nimatrix = false\ncompared = []\n", "utf-8")
    shutil.copytree(out / "dataset", tmp_path / "out" / "dataset")
    base, origin = load_recipe(str(recipe)).base.path, read_origin(out / "dataset")
    assert base is not None
    one, two = (_adapter(base, seed, origin, tmp_path) for seed in (1, 2))
    blended = tmp_path / "blended"
    work = ["--recipe", str(recipe), "--out", str(tmp_path / "out")]

    def told(*command: str) -> dict[str, Any]:
        done = CliRunner().invoke(cli, [*command, *work, "--json"])
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    told("blend", f"{one}=0.01", f"{two}=0.02", "--to", str(blended))
    given = ("--adapter", str(blended))
    assert told("merge", *given)["report"]["changed"] == 1
    told("convert", *given)
    told("quantize", *given)
    assert read_origin(tmp_path / "out" / "gguf").prompt_version == origin.prompt_version
    why = told("run", "--why", *given)["stages"]
    assert "train" not in why
    assert why["quantize"] == ""
    (blended / "origin.json").unlink()
    done = CliRunner().invoke(cli, ["merge", *given, *work])
    assert "origin.json: is not there: nothing tells which prompt it was trained on" in done.output


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["a=much"], "a=much: the weight is no number"),
        (["a=nan", "b=1"], "a=nan: the weight is no number"),
        (["a=1", "b=-inf"], "b=-inf: the weight is no number"),
        (["a=0", "b=0"], "all weights are 0, which is no adapter"),
    ],
)
def test_a_weight_that_is_no_number_is_told(tmp_path: Path, given: list[str], told: str) -> None:
    done = CliRunner().invoke(cli, ["blend", *given, "--to", str(tmp_path / "blend")])
    assert done.exit_code == 2
    assert told in done.output
