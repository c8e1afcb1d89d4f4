"""What was trained on another base is refused, although its shapes fit."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from poem_build.errors import ModelFileError
from poem_build.export import merge
from poem_build.export.of_base import refuse_other_base
from poem_build.models.origin import WEIGHTS, Origin, write_origin
from poem_build.store.artifact import Artifact
from poem_build.store.digest import Digests
from support.small_models import write_small_adapter

SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "vocab_size": 100}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
ORIGIN = Origin(game="", game_digest="d", prompt_version="v")


def _base(folder: Path, seed: int = 1, kind: type = transformers.Qwen2Config, **more: object) -> Artifact:
    torch.manual_seed(seed)
    transformers.AutoModelForCausalLM.from_config(kind(**SMALL, **HEADS, **more)).save_pretrained(folder)
    return Artifact("base", folder, Digests(folder / "none").folder(folder))


def test_an_adapter_that_names_its_base_is_taken_on_that_alone(tmp_path: Path) -> None:
    base, other = _base(tmp_path / "base"), _base(tmp_path / "other", seed=2)
    adapter = write_small_adapter(base.path, tmp_path / "adapter", target_modules=["q_proj"])
    write_origin(adapter, ORIGIN, base=base.digest(WEIGHTS))
    refuse_other_base(base, adapter)
    (base.path / "LICENSE").write_text("terms", "utf-8")
    refuse_other_base(Artifact("base", base.path, Digests(tmp_path / "none").folder(base.path)), adapter)
    with pytest.raises(ModelFileError, match=r"origin\.json: base: was trained on other weights than .*other's"):
        refuse_other_base(other, adapter)


def test_an_adapter_from_elsewhere_is_told_by_its_base_s_kind(tmp_path: Path) -> None:
    base, other = _base(tmp_path / "base"), _base(tmp_path / "llama", kind=transformers.LlamaConfig)
    adapter = write_small_adapter(other.path, tmp_path / "adapter", target_modules=["q_proj"])
    refuse_other_base(other, adapter)
    with pytest.raises(ModelFileError, match=r"adapter: was trained on a model of type llama, .*base is qwen2; give"):
        refuse_other_base(base, adapter)
    shutil.rmtree(other.path)
    refuse_other_base(base, adapter)


def test_weights_that_were_all_trained_are_of_the_base_s_architecture(tmp_path: Path) -> None:
    base = _base(tmp_path / "base")
    gemma = _base(tmp_path / "gemma", kind=transformers.Gemma3TextConfig, head_dim=16)
    with pytest.raises(ModelFileError, match=r"gemma: was trained on a model of type gemma3_text, .*base is qwen2; "):
        refuse_other_base(base, gemma.path)
    trained = _base(tmp_path / "trained", seed=2)
    config = json.loads((base.path / "config.json").read_text("utf-8"))
    (base.path / "config.json").write_text(json.dumps(config | {"intermediate_size": 128}), "utf-8")
    with pytest.raises(ModelFileError, match=r"mlp\.\w+\.weight is (96×64|64×96), base/config\.json wants "):
        merge.merge_weights(base.path, trained.path, tmp_path)
