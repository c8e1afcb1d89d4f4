"""The choice of device and number format, on a table of machines and on this one."""

from pathlib import Path

import pytest

from poem_build.errors import DeviceError
from poem_build.models.device import Asked, Hardware, asked_on, device_of, gpu_layers, key_of, look, trouble
from poem_build.recipe.schema import Recipe, load_recipe
from support.chain import changed

H100 = Hardware(gpu="cuda", name="NVIDIA H100", capability=(9, 0), memory=80 * 10**9)
OLD = Hardware(trouble="the NVIDIA driver is too old for CUDA 13.0; install a newer one", cpu="EPYC")


@pytest.fixture(scope="module")
def auto() -> Recipe:
    recipe = load_recipe("tiny")
    return changed(recipe, "train", dtype="auto")


@pytest.mark.parametrize(
    ("hardware", "kind", "dtype", "reason"),
    [
        (H100, "cuda", "bfloat16", "compute capability 9.0 has tensor cores for it"),
        (Hardware("cuda", "T4", (7, 5)), "cuda", "float16", "compute capability 7.5 has tensor cores for it and none"),
        (Hardware("cuda", "P40", (6, 1)), "cuda", "float32", "compute capability 6.1 has no tensor cores"),
        (Hardware("rocm", "MI300X", bf16=True), "rocm", "bfloat16", "the GPU has it"),
        (Hardware("rocm", "Vega"), "rocm", "float16", "the GPU has no bfloat16"),
        (Hardware("mps", "Apple"), "mps", "float32", "Apple's GPUs reckon it as fast as 16 bits"),
        (Hardware(flags=frozenset({"amx_bf16", "avx512_bf16"})), "cpu", "bfloat16", "the processor has amx_bf16"),
        (Hardware(flags=frozenset({"avx512_bf16"})), "cpu", "bfloat16", "the processor has avx512_bf16"),
        (Hardware(flags=frozenset({"avx2"})), "cpu", "float32", "the processor has no instructions for bfloat16"),
        (OLD, "cpu", "float32", f"the processor has no instructions for bfloat16; {OLD.trouble}"),
    ],
)
def test_hardware_decides(auto: Recipe, hardware: Hardware, kind: str, dtype: str, reason: str) -> None:
    chosen = device_of(auto, hardware)
    assert (chosen.kind, chosen.dtype) == (kind, dtype)
    assert chosen.reason.startswith(reason)
    assert chosen.torch == {"rocm": "cuda"}.get(kind, kind)


def test_the_recipe_has_the_last_word(auto: Recipe) -> None:
    float32 = device_of(changed(auto, "train", dtype="float32"), H100)
    assert (float32.kind, float32.dtype, float32.reason) == ("cuda", "float32", "as the recipe has it")
    assert device_of(auto.model_copy(update={"device": "cpu"}), H100).kind == "cpu"
    assert device_of(auto.model_copy(update={"device": "cuda"}), H100).name == "NVIDIA H100"


@pytest.mark.parametrize(
    ("free", "asked"),
    [
        (36, Asked("cuda", "float32", "")),
        (24, Asked("cuda", "bfloat16", "bfloat16 on NVIDIA H100")),
        (12, Asked("cpu", "float32", "float32 on the processor; NVIDIA H100 has no room")),
    ],
)
def test_a_model_is_asked_in_float32_where_there_is_room_for_it(auto: Recipe, free: int, asked: Asked) -> None:
    assert asked_on(device_of(auto, H100), 76 * 10**8, free * 1e9) == asked
    in_float32 = device_of(changed(auto, "train", dtype="float32"), H100)
    assert asked_on(in_float32, 76 * 10**8, 24e9).device == "cpu"


@pytest.mark.parametrize(
    ("asked", "hardware", "why"),
    [
        ("cuda", OLD, OLD.trouble),
        ("cuda", Hardware(), "this machine has no GPU that PyTorch can use"),
        ("rocm", H100, "this machine has cuda that PyTorch can use"),
    ],
)
def test_a_device_that_is_asked_for_and_cannot_be_used_is_refused(
    auto: Recipe, asked: str, hardware: Hardware, why: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        device_of(auto.model_copy(update={"device": asked}), hardware)
    assert str(caught.value) == f"device {asked}: {why}; leave --device (GPU= of make) out for the processor"


def test_why_cuda_cannot_be_used_is_told() -> None:
    def failing(text: str) -> None:
        raise RuntimeError(text)

    old = "The NVIDIA driver on your system is too old (found version 11040). Please update"
    assert trouble("13.0", None, lambda: failing(old)) == OLD.trouble
    assert trouble("13.0", None, lambda: failing("CUDA unknown error\nmore")).startswith(
        "CUDA cannot be used (CUDA unknown error); `nvidia-smi`"
    )
    assert "for the processor alone" in trouble(None, None, lambda: None)
    assert "sees no GPU" in trouble("13.0", None, lambda: None)


def test_this_machine_says_what_its_processor_has(auto: Recipe) -> None:
    found, cpuinfo = look(), Path("/proc/cpuinfo")
    if found.gpu or not cpuinfo.is_file():
        pytest.skip("a GPU is there, or a system that tells nothing of its processor")
    chosen = device_of(auto)
    assert (chosen.dtype == "bfloat16") == bool({"amx_bf16", "avx512_bf16"} & set(cpuinfo.read_text().split()))
    assert key_of(auto) == {"device": {"kind": "cpu", "dtype": chosen.dtype}}
    assert gpu_layers() == 0
