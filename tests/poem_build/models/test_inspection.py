"""What `inspect` tells of a file is what is in it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from poem_build.cli.main import cli
from poem_build.export.quantization import quantize_file
from poem_build.recipe.schema import RECIPES
from support.tiny_gguf import TEMPLATE, write_tiny_gguf


def _told(path: Path, *more: str) -> str:
    done = CliRunner().invoke(cli, ["inspect", str(path), *more])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_gguf_is_told_as_a_table_and_as_json(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "source.gguf", width=256, feed=512, layers=2)
    quantize_file(source, tmp_path / "made.gguf", "Q4_K_M")
    told = json.loads(_told(tmp_path / "made.gguf", "--json"))
    assert (told["kind"], told["architecture"], told["template"]) == ("GGUF model", "llama", TEMPLATE)
    assert told["facts"]["tokenizer.ggml.model"] == "llama"
    assert told["facts"]["llama.block_count"] == 2
    assert told["types"]["Q4_K"] + told["types"]["Q6_K"] == sum(told["types"].values()) - told["types"]["F32"]
    assert {"block 0", "block 1", "token_embd.weight", "output.weight"} <= told["blocks"].keys()
    assert sum(told["blocks"].values()) == told["bytes"] == sum(one["bytes"] for one in told["tensors"])
    down = next(one for one in told["tensors"] if one["name"] == "blk.0.ffn_down.weight")
    assert down["shape"] == [256, 512]
    text = _told(tmp_path / "made.gguf", "--tensors")
    assert f"| blk.0.ffn_down.weight | {down['type']} | 256×512 | {down['bytes']:,} |" in text
    assert f"Template:\n{TEMPLATE}" in text


def test_an_adapter_and_a_model_are_told(tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": False, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    name = "base_model.model.model.layers.3.self_attn.q_proj.lora_{}.weight"
    weights = {name.format("A"): torch.zeros(4, 64), name.format("B"): torch.zeros(64, 4)}
    save_file(weights, tmp_path / "adapter_model.safetensors")
    told = json.loads(_told(tmp_path, "--json"))
    assert (told["kind"], told["architecture"], told["blocks"]) == ("adapter", "", {"block 3": 2048})
    config["base_model_name_or_path"] = str(RECIPES / "tiny-base")
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    assert json.loads(_told(tmp_path, "--json"))["architecture"] == "Qwen2ForCausalLM"
    assert told["facts"] == {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    model = json.loads(_told(RECIPES / "tiny-base", "--json"))
    assert (model["architecture"], model["types"]) == ("Qwen2ForCausalLM", {"BF16": 50})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, ": holds no weights in safetensors; fetch it again"),
        ({"architectures": 5}, "/config.json: architectures: 5 is no list of names"),
    ],
)
def test_a_folder_of_no_whole_model_is_refused(tmp_path: Path, config: dict[str, object], told: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    if "5" in told:
        save_file({"lm_head.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    done = CliRunner().invoke(cli, ["inspect", str(tmp_path)])
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert done.output.startswith(f"Error: {tmp_path}{told}")


@pytest.mark.parametrize("keep", [0, 10, 3000])
def test_what_is_none_of_these_is_refused_in_one_line(tmp_path: Path, keep: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(write_tiny_gguf(tmp_path / "whole.gguf").read_bytes()[:keep])
    done = CliRunner().invoke(cli, ["inspect", str(cut)])
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert done.output.startswith(f"Error: {cut}: no whole GGUF (")
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    done = CliRunner().invoke(cli, ["inspect", str(tmp_path)])
    assert done.output.startswith(f"Error: {tmp_path}: neither a GGUF file nor the folder of an adapter or a model")
