"""Bits and a device → how bitsandbytes holds the frozen weights, and a model that can be trained beside such ones."""

from typing import Any

from poem_build.errors import DeviceError
from poem_build.models.device import Device
from poem_build.recipe.training import Bits


def quantization(bits: Bits, device: Device) -> Any:
    """None at 16 bits; at 8 LLM.int8 (Dettmers et al. 2022, arXiv:2208.07339); at 4 NF4, its scales quantized too.

    Raises `DeviceError` where bitsandbytes or its kernel for the device is not there.
    """
    if bits == 16:
        return None
    import torch

    try:
        from bitsandbytes import functional

        tried = torch.ones(64, 64, dtype=torch.float16, device=device.torch)  # which either takes
        _ = functional.int8_vectorwise_quant(tried) if bits == 8 else functional.quantize_4bit(tried, quant_type="nf4")
    except Exception as error:  # a library without the kernel for this device raises what it likes, and not on import
        raise DeviceError(
            f"train.bits: {bits} bits need bitsandbytes with its kernel for {device.kind} ({_told(error)}); "
            "pip install -e '.[gpu]', or bits = 16"
        ) from error
    from transformers import BitsAndBytesConfig

    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, device.dtype),
    )


def prepared(model: Any) -> Any:
    """The quantized model, so that it can be trained beside.

    What is not quantized stays in the device's number format. peft's own preparation turns it to float32: embeddings
    and head of a 7B take 2.2 GB more then, and all that a layer hands on takes twice as much.
    """
    for module in model.modules():
        # bitsandbytes 0.50 packs a 4-bit matrix anew at the first look on a processor with AVX-512 BF16, its scales
        # rounded once more, and has no way back to training from there.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _told(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
