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


def _how(**change: Any) -> Training:
    given = {"learning_rate": 1e-4, "epochs": 1, "batch": 16, "micro_batch": 8, **change}
    return Training.of(Train.model_validate(given), GPU.dtype, 1000, 300)


def test_three_settings_with_what_they_save_by_the_plan(shape: Shape) -> None:
    with pytest.raises(DeviceError) as caught, named(_how(), shape, GPU):
        torch.empty(10**15)  # a real refusal of PyTorch's allocator
    whole, half, anew, eight = (
        training_needs(shape, how, "gpu")[0].total / 1e9
        for how in (_how(), _how(micro_batch=4), _how(gradient_checkpointing=True), _how(bits=8))
    )
    assert str(caught.value) == (
        "train: out of memory on NVIDIA T4; computed: "
        f"train.micro_batch = 4 saves {whole - half:.1f} GB, "
        f"train.gradient_checkpointing = true saves {whole - anew:.1f} GB, train.bits = 8 saves {whole - eight:.1f} GB"
    )


def test_what_is_set_already_is_not_advised(shape: Shape) -> None:
    tight = _how(method="qlora", gradient_checkpointing=True, micro_batch=1, offload="optimizer")
    assert [change.setting for change in changes(tight, shape, "gpu")] == ['launch = "zero3" on 2 GPUs']
    full = [change.setting for change in changes(_how(method="full"), shape, "gpu")]
    assert full == ["micro_batch = 4", "gradient_checkpointing = true", 'method = "lora"']


def test_what_a_gpu_alone_can_do_is_advised_there_alone(shape: Shape) -> None:
    tight = _how(gradient_checkpointing=True, micro_batch=1)
    assert [change.setting for change in changes(tight, shape, "ram")] == ['method = "qlora", bits = 4']


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
    tight = _how(method=method, bits=bits, preferences=preferences, gradient_checkpointing=True, micro_batch=1)
    advised = changes(tight, shape, "gpu")[0]
    assert advised.setting == setting
    layers = shape.parameters - sum(matrix.parameters for matrix in shape.embeddings)
    assert advised.saves == pytest.approx(layers * (bits - narrower) / 8, rel=0.08)  # scales, and a matrix in passing


def test_experts_that_are_one_tensor_have_no_part_in_the_adapter() -> None:
    mixture = load_recipe("mixtral-8x22b").shape
    assert mixture is not None
    saved = {change.setting: change.saves for change in changes(_how(micro_batch=1), mixture, "gpu")}
    assert saved['offload = "optimizer"'] == 8 * mixture.adapter_parameters(8)


def test_other_faults_pass_as_they_are(shape: Shape) -> None:
    with pytest.raises(RuntimeError, match="shape"), named(_how(), shape, GPU):
        torch.zeros(2).view(3)
