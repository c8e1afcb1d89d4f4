"""A model and texts → llama.cpp's importance matrix: how exactly each column of each weight matrix has to be kept.

A matrix W (n_out, n_in) multiplies inputs x (n_in). Quantized to W + D, its output i is off by Σ_j D_ij x_j, so the
square of that error weighs column j by the mean of x_j² over the texts' tokens; llama.cpp rounds to make the weighted
error small. Kept in the format of its own tool (tools/imatrix), whose `llama-quantize --imatrix` reads the file too.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poem_build.models.converter import gguf
from poem_build.models.device import PLAINLY, Asked
from poem_build.models.load import load_model
from poem_build.models.tokens import Tokens
from poem_build.progress import progress

if TYPE_CHECKING:
    import numpy as np

_SUMS, _COUNTS = ".in_sum2", ".counts"


def write(target: Path, model_folder: Path, f16: Path, texts: Sequence[Tokens], how: Asked = PLAINLY) -> int:
    """Run the model over prompts and answers; returns how many matrices were seen.

    Inputs are told apart by layer, so only matrices that are modules of their own are in it; llama.cpp rounds the
    others, like the embeddings, as it does without.
    """
    import torch

    model = load_model(model_folder, how.dtype, how.device).eval()
    names = _tensor_names(f16)
    sums: dict[str, torch.Tensor] = {}
    for module_name, module in model.named_modules():
        is_matrix = getattr(module, "weight", torch.empty(0)).ndim == 2 and not isinstance(module, torch.nn.Embedding)
        if is_matrix and (tensor := names.get_name(module_name)):
            module.register_forward_pre_hook(_adding_to(sums, f"{tensor}.weight"))
    with torch.inference_mode():
        for text in progress(texts, "weighing columns"):
            model.base_model(input_ids=torch.tensor([text.prompt + text.answer], device=how.device), use_cache=False)
    writer = gguf().GGUFWriter(target, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["train.jsonl"])
    writer.add_uint32("imatrix.chunk_count", len(texts))
    writer.add_uint32("imatrix.chunk_size", max(map(len, texts)))
    for tensor, total in sums.items():
        writer.add_tensor(tensor + _SUMS, total.float().numpy()[None])
        writer.add_tensor(tensor + _COUNTS, torch.tensor([[float(sum(map(len, texts)))]]).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return len(sums)


def read(path: Path) -> "dict[str, np.ndarray]":
    """The mean square of each input, (n_in,) a tensor's name."""
    found = {tensor.name: tensor.data for tensor in gguf().GGUFReader(path).tensors}
    names = (name.removesuffix(_SUMS) for name in found if name.endswith(_SUMS))
    return {name: (found[name + _SUMS] / found[name + _COUNTS]).reshape(-1) for name in names}


def for_llama(path: Path) -> Any:
    """What the file holds as the array that `llama_model_quantize_params.imatrix` points to."""
    import llama_cpp

    entry, floats = llama_cpp.llama_model_imatrix_data, ctypes.POINTER(ctypes.c_float)
    means = {name: mean.astype("float32") for name, mean in read(path).items()}
    rows = [entry(name.encode(), mean.ctypes.data_as(floats), mean.size) for name, mean in means.items()]
    array = (entry * (len(rows) + 1))(*rows, entry())  # the last one, without a name, ends it
    array.kept = means  # the pointers look into these
    return array


def _tensor_names(f16: Path) -> Any:
    """llama.cpp's own map from the modules of transformers to a GGUF's tensors."""
    fields = gguf().GGUFReader(f16)
    architecture = fields.get_field("general.architecture").contents()
    blocks = fields.get_field(f"{architecture}.block_count").contents()
    known = {name: number for number, name in gguf().MODEL_ARCH_NAMES.items()}
    return gguf().get_tensor_name_map(known[architecture], blocks)


def _adding_to(sums: "dict[str, Any]", tensor: str) -> Any:
    def hook(_: Any, inputs: tuple[Any, ...]) -> None:
        squares = inputs[0].cpu().double().flatten(0, -2).square().sum(0)
        sums[tensor] = squares + sums.get(tensor, 0)

    return hook
