"""The merge that streams: bit by bit what peft writes, and what it refuses by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from poem.game import builtin_game
from poem_build.errors import ModelFileError, PlanError
from poem_build.export import merge, streaming
from poem_build.models import tensors
from poem_build.models.origin import Origin, write_origin
from poem_build.plan.machine import check_memory, free_memory
from poem_build.recipe.schema import RECIPES, load_recipe
from poem_build.store.artifact import Artifact
from poem_build.store.stage import Job
from support.small_models import write_small_adapter

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's advice on what we ask for on purpose
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 300}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
SHAPES: dict[str, Callable[[], Any]] = {
    "qwen2 tied": lambda: transformers.Qwen2Config(**SMALL, **HEADS, tie_word_embeddings=True),
    "qwen2 untied": lambda: transformers.Qwen2Config(**SMALL, **HEADS, tie_word_embeddings=False),
    "gemma3": lambda: transformers.Gemma3TextConfig(**SMALL, **HEADS, head_dim=16),
    "phi3": lambda: transformers.Phi3Config(**SMALL, **HEADS, pad_token_id=0),
    "gpt2": lambda: transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=300),
    "mixtral": lambda: transformers.MixtralConfig(**SMALL, **HEADS, num_local_experts=2, num_experts_per_tok=1),
}
ATTENTION = {"gpt2": ["c_attn", "c_proj"], "phi3": ["qkv_proj", "down_proj"]}


def _base(folder: Path, shape: str, dtype: torch.dtype = torch.bfloat16) -> Path:
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(SHAPES[shape]()).to(dtype)
    model.save_pretrained(folder, max_shard_size="40KB")
    return folder


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: place.whole() for name, place in tensors.places(folder).items()}


def _by_peft(base: Path, adapter: Path, target: Path) -> dict[str, torch.Tensor]:
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    merged = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.save_pretrained(target)
    return {name: tensor.to(merged.dtype) for name, tensor in load_file(target / tensors.SINGLE).items()}


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        *((shape, {}) for shape in SHAPES),
        ("qwen2 tied", {"trainable_token_indices": [3, 7, 299]}),
        ("qwen2 untied", {"use_rslora": True, "modules_to_save": ["lm_head"]}),
        ("qwen2 untied", {"alpha_pattern": {"q_proj": 40}, "rank_pattern": {"layers.1.self_attn.v_proj": 8}}),
        ("qwen2 untied", {"trainable_token_indices": {"embed_tokens": [1], "lm_head": [2, 5]}}),
    ],
)
def test_every_bit_is_what_peft_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(tensors, "_PORTION", 4096)  # as if every tensor were a large one
    base = _base(tmp_path / "base", shape)
    adapter = write_small_adapter(
        base, tmp_path / "adapter", target_modules=ATTENTION.get(shape, ["q_proj", "v_proj"]), **options
    )
    (tmp_path / "ours").mkdir()
    report = merge.merge_weights(base, adapter, tmp_path / "ours").report
    expected, ours = _by_peft(base, adapter, tmp_path / "peft"), _weights(tmp_path / "ours")
    assert ours.keys() == expected.keys()
    assert [name for name in ours if not torch.equal(ours[name], expected[name])] == []
    before = _weights(base)
    assert report.changed == sum(not torch.equal(ours[name], before[name]) for name in ours) > 0
    assert (report.by_peft, report.dtype) == ("", "bfloat16")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype="auto")
    assert {len(list((tmp_path / where).glob("*.safetensors"))) > 1 for where in ("base", "ours")} == {True}
    assert loaded.config.to_dict() == transformers.AutoConfig.from_pretrained(tmp_path / "peft").to_dict() | {
        "_name_or_path": str(tmp_path / "ours")
    }


@pytest.mark.parametrize(
    ("shape", "options", "why"),
    [
        ("qwen2 untied", {"use_dora": True}, "use_dora is True"),
        ("qwen2 untied", {"target_modules": ["q_proj", "lm_head"]}, "it brings a matrix of its base's along"),
        ("qwen2 tied", {"modules_to_save": ["embed_tokens"]}, "is tied to another tensor"),
        ("qwen2 untied", {"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
    ],
)
def test_what_the_formula_does_not_say_is_merged_by_peft(
    tmp_path: Path, shape: str, options: dict[str, Any], why: str
) -> None:
    base = _base(tmp_path / "base", shape)
    adapter = write_small_adapter(base, tmp_path / "adapter", **({"target_modules": ["q_proj"]} | options))
    (tmp_path / "ours").mkdir()
    report = merge.merge_weights(base, adapter, tmp_path / "ours").report
    assert why in report.by_peft
    expected = _by_peft(base, adapter, tmp_path / "peft")
    ours = load_file(tmp_path / "ours" / tensors.SINGLE)
    assert all(torch.equal(ours[name].to(tensor.dtype), tensor) for name, tensor in expected.items())
    assert report.changed


def _changed_config(folder: Path, **change: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    return folder


def test_an_adapter_of_another_base_is_refused_by_the_matrix_that_differs(tmp_path: Path) -> None:
    adapter = write_small_adapter(
        _base(tmp_path / "base", "qwen2 tied"), tmp_path / "adapter", target_modules=["q_proj"]
    )
    narrow = _changed_config(_base(tmp_path / "narrow", "qwen2 tied"), num_attention_heads=2, head_dim=16)
    with pytest.raises(
        ModelFileError, match=r"another base\? .*q_proj\.lora_B\.weight is 64×4, this base wants 32×4; give"
    ):
        merge.merge_weights(narrow, adapter, tmp_path)
    shallow = _changed_config(_base(tmp_path / "shallow", "qwen2 tied"), num_hidden_layers=1, layer_types=None)
    with pytest.raises(ModelFileError, match=r"another base\? .*layers\.1\..*: the base has no such matrix"):
        merge.merge_weights(shallow, adapter, tmp_path)
    with pytest.raises(
        ModelFileError, match=r"adapter: adapter of another base\? Target modules .* model; give the base it"
    ):
        merge.merge_weights(_base(tmp_path / "gpt2", "gpt2"), adapter, tmp_path)


def _rewrite(path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the tensors of the file whose names end so."""
    whole = load_file(path)
    save_file(whole | {one: change(tensor) for one, tensor in whole.items() if one.endswith(name)}, path)


def test_numbers_that_are_none_or_no_floats_are_refused_by_their_tensor(tmp_path: Path) -> None:
    base = _base(tmp_path / "base", "qwen2 tied")
    adapter = write_small_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    weights = adapter / "adapter_model.safetensors"
    kept = weights.read_bytes()
    _rewrite(weights, "layers.1.self_attn.q_proj.lora_B.weight", lambda tensor: tensor / 0)
    with pytest.raises(
        ModelFileError, match=r"model\.layers\.1\.self_attn\.q_proj\.weight: NaN or infinite once merged"
    ):
        merge.merge_weights(base, adapter, tmp_path)
    _rewrite(weights, "lora_A.weight", lambda tensor: tensor.to(torch.int8))
    with pytest.raises(
        ModelFileError, match=r"adapter_model\.safetensors: .*lora_A\.weight: is in I8; only F64, F32, F16, BF16"
    ):
        merge.merge_weights(base, adapter, tmp_path)
    weights.write_bytes(kept)
    file = next(path for path in base.glob("*.safetensors") if any("q_proj.weight" in one for one in load_file(path)))
    _rewrite(file, "q_proj.weight", lambda tensor: tensor.to(torch.int8))
    with pytest.raises(ModelFileError, match=rf"{file.name}: .*q_proj\.weight: is in I8; only F64, F32, F16, BF16 can"):
        merge.merge_weights(base, adapter, tmp_path)


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"weight_map": []}', '{"weight_map": {"a": "none"}}'])
def test_an_index_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / tensors.INDEX).write_text(content, "utf-8")
    with pytest.raises(ModelFileError, match=r"index\.json: weight_map: tells no file of|/none: no whole safetensors"):
        tensors.places(tmp_path)


def test_a_config_that_its_weights_do_not_fit_is_refused(tmp_path: Path) -> None:
    base = _base(tmp_path / "base", "qwen2 tied")
    adapter = write_small_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    _changed_config(base, vocab_size=301)
    with pytest.raises(ModelFileError, match=r"embed_tokens\.weight is 300×64, base/config\.json wants 301×64; fetch"):
        merge.merge_weights(base, adapter, tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    base = _base(tmp_path / "base", "qwen2 tied")
    adapter = write_small_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    whole = load_file(adapter / "adapter_model.safetensors")
    lost = next(name for name in whole if "layers.1" in name)
    save_file({name: t for name, t in whole.items() if name != lost}, adapter / "adapter_model.safetensors")
    with pytest.raises(
        ModelFileError, match=rf"adapter_model\.safetensors: {lost}: not there \(1 of 4 tensors\); train it"
    ):
        merge.merge_weights(base, adapter, tmp_path)
    save_file(whole, adapter / "adapter_model.safetensors")
    index = json.loads((base / tensors.INDEX).read_text("utf-8"))
    gone = "model.layers.0.mlp.up_proj.weight"
    file = base / index["weight_map"].pop(gone)
    save_file({name: t for name, t in load_file(file).items() if name != gone}, file)
    (base / tensors.INDEX).write_text(json.dumps(index), "utf-8")
    with pytest.raises(ModelFileError, match=rf"base: {gone}: in none of its files \(1 tensors\); fetch it again"):
        merge.merge_weights(base, adapter, tmp_path)
    index["weight_map"][gone] = file.name
    (base / tensors.INDEX).write_text(json.dumps(index), "utf-8")
    with pytest.raises(ModelFileError, match=rf"index\.json: {gone}: not in {file.name}"):
        merge.merge_weights(base, adapter, tmp_path)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ModelFileError, match=rf"{file.name}: cut short at"):
        merge.merge_weights(base, adapter, tmp_path)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"adapter_model\.safetensors: no whole safetensors file"):
        merge.merge_weights(base, adapter, tmp_path)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}])
def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    base = _base(tmp_path / "base", "qwen2 tied")
    adapter = write_small_adapter(base, tmp_path / "adapter", target_modules=["q_proj"], **options)
    none = {
        name: tensor * ("lora_B" not in name) if "magnitude" not in name else tensor
        for name, tensor in load_file(adapter / "adapter_model.safetensors").items()
    }
    if options:  # what DoRA begins with: the length of each of the base's rows
        for name in (name for name in none if "magnitude" in name):
            row = name.removeprefix("base_model.model.").removesuffix("lora_magnitude_vector") + "weight"
            none[name] = _weights(base)[row].float().norm(dim=1)
    save_file(none, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelFileError, match=r"adapter: changes nothing of its base: no weight is another"):
        merge.merge_weights(base, adapter, tmp_path)


def test_what_peft_would_need_is_asked_of_the_machine_first(tmp_path: Path) -> None:
    base = _base(tmp_path / "base", "qwen2 untied")
    adapter = write_small_adapter(base, tmp_path / "adapter", target_modules=["q_proj"], use_dora=True)
    _changed_config(base, vocab_size=10**12)  # the embeddings alone are 128 TB
    for path in base.glob("*.safetensors*"):
        path.unlink()
    with pytest.raises(
        PlanError, match=r"merge by peft \(use_dora is True\): needs \d{6}\.\d GB of memory, [\d.]+ are free"
    ):
        merge.merge_weights(base, adapter, tmp_path / "ours")
    check_memory(free_memory() // 2, "half of it", "")


def test_the_disk_is_asked_before_anything_is_written(tmp_path: Path) -> None:
    vast = tensors.Place(tmp_path / "none", "BF16", (10**9, 10**6), 0, 2 * 10**15)
    found = streaming.Sources({"model.embed_tokens.weight": streaming.Source(vast, "model.embed_tokens.weight")})
    with pytest.raises(PlanError, match=r"merge: writes 2000000\.0 GB to .*, [\d.]+ are free there"):
        streaming.stream(found, "bfloat16", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_format_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    """A config may tell another number format than its files have."""
    base = _changed_config(_base(tmp_path / "base", "qwen2 tied"), dtype="float32")
    adapter = write_small_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    (tmp_path / "ours").mkdir()
    assert merge.merge_weights(base, adapter, tmp_path / "ours").report.dtype == "float32"
    ours, expected = _weights(tmp_path / "ours"), _by_peft(base, adapter, tmp_path / "peft")
    assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}


def test_sampling_that_its_generation_config_does_not_ask_for_is_kept_beside_the_ends(tmp_path: Path) -> None:
    """As copies of Llama 2 have it; transformers refuses to save what it would only warn of."""
    base, told = shutil.copytree(RECIPES / "tiny-base", tmp_path / "base"), {"temperature": 0.9, "top_p": 0.6}
    (base / "generation_config.json").write_text(json.dumps(told | {"eos_token_id": 0}), "utf-8")
    adapter = write_small_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    write_origin(adapter, Origin(game="", game_digest="d", prompt_version="v"))
    inputs = {path.name: Artifact(path.name, path, {}) for path in (base, adapter)}
    (tmp_path / "merged").mkdir()
    merge.run(Job(load_recipe("tiny"), builtin_game(), tmp_path / "merged", tmp_path, inputs))
    kept = json.loads((tmp_path / "merged" / "generation_config.json").read_text("utf-8"))
    assert kept == told | {"eos_token_id": [0, 2], "transformers_version": transformers.__version__}
