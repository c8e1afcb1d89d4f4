"""What is told where memory runs out, and the figures in it."""

from typing import Any

import pytest
import torch

from poem_build.errors import DeviceError
from poem_build.models.device import Device
from poem_build.plan.memory import Training, training_needs
from poem_build.recipe.schema import load_recipe
from poem_build.recipe.shape import Shape
from poem_build.recipe.training import Train
from poem_build.train.scarce import changes, named

GPU = Device(kind="cuda", name="NVIDIA T4", dtype="float16", reason="")


@pytest.fixture(scope="module")
def shape() -> Shape:
    found = load_recipe("qwen2.5-7b").shape
    assert found is not None
    return found


def _spec(**change: Any) -> Train:
    return Train.model_validate({"learning_rate": 1e-4, "epochs": 1, "batch": 16, "micro_batch": 8, **change})


def test_three_settings_with_what_they_save(shape: Shape) -> None:
    with (
        pytest.raises(DeviceError) as caught,
        named(_spec(), shape, 1000, GPU),
    ):
        torch.empty(10**15)  # a real refusal of PyTorch's allocator
    width = 8 * 1000 * shape.hidden_size * shape.layers
    assert str(caught.value) == (
        "train: out of memory on NVIDIA T4; computed: "
        f"train.gradient_checkpointing = true saves {width * 32 / 1e9:.1f} GB, "
        f"train.micro_batch = 4 saves {width * 17 / 1e9:.1f} GB, train.bits = 8 saves {shape.parameters / 1e9:.1f} GB"
    )


def test_what_is_set_already_is_not_advised(shape: Shape) -> None:
    tight = _spec(method="qlora", gradient_checkpointing=True, micro_batch=1, offload="optimizer")
    assert [change.setting for change in changes(tight, shape, 1000)] == ['launch = "zero3" on two GPUs']
    full = [change.setting for change in changes(_spec(method="full"), shape, 1000)]
    assert full == ["gradient_checkpointing = true", "micro_batch = 4", 'method = "lora"']


@pytest.mark.parametrize(
    ("method", "bits", "setting", "narrower"),
    [
        ("lora", 16, "bits = 8", 8),
        ("lora", 8, 'method = "qlora", bits = 4', 4),
        ("unsloth", 16, "bits = 4", 4),
        ("dpo", 16, "bits = 8", 8),
        ("dpo", 8, "bits = 4", 4),
    ],
)
def test_a_width_is_advised_that_the_method_has(
    shape: Shape, method: str, bits: int, setting: str, narrower: int
) -> None:
    preferences = "preferences.jsonl" if method == "dpo" else None
    tight = _spec(method=method, bits=bits, preferences=preferences, gradient_checkpointing=True, micro_batch=1)
    assert changes(tight, shape, 1000)[0] == (setting, shape.parameters * (bits - narrower) / 8)


def test_experts_that_are_one_tensor_have_no_part_in_the_adapter() -> None:
    mixture = load_recipe("mixtral-8x22b").shape
    assert mixture is not None
    saved = {change.setting: change.saves for change in changes(_spec(micro_batch=1), mixture, 1000)}
    how = Training("lora", 16, 2, 8, False, 1, False, "none", 1000, 300)
    assert saved['offload = "optimizer"'] == training_needs(mixture, how, "ram")[0].parts["optimizer"]


def test_other_faults_pass_as_they_are(shape: Shape) -> None:
    with pytest.raises(RuntimeError, match="shape"), named(_spec(), shape, 1000, GPU):
        torch.zeros(2).view(3)
