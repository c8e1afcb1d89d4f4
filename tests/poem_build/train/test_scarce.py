"""What is told where memory runs out, and the figures in it."""

from typing import Any

import pytest
import torch

from poem_build.errors import DeviceError
from poem_build.models.device import Device
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


def test_other_faults_pass_as_they_are(shape: Shape) -> None:
    with pytest.raises(RuntimeError, match="shape"), named(_spec(), shape, 1000, GPU):
        torch.zeros(2).view(3)
