"""An f16 GGUF → Q4_K_M, judged by the tensor types that are really in the file."""

import ctypes
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from poem_build.data.dataset import read_examples
from poem_build.engine.llama import warnings_of_llama
from poem_build.errors import GateError, ModelFileError
from poem_build.export import imatrix
from poem_build.export.convert import FILE as F16_FILE
from poem_build.models.converter import gguf
from poem_build.models.load import load_tokenizer
from poem_build.recipe.schema import Recipe
from poem_build.store import artifact
from poem_build.store.artifact import Artifact
from poem_build.train.batches import tokenize

FILE = "model-Q4_K_M.gguf"
Quantization = Literal["Q8_0", "Q5_K_M", "Q4_K_M"]
"""llama.cpp's names of the mixtures, from large to small."""
_K_QUANTS = frozenset({"Q4_K", "Q5_K", "Q6_K"})
_IMATRIX_EXAMPLES = 64


def run(recipe: Recipe, out: Path) -> Artifact:
    """Quantize, exactest where the model's own training texts weigh most.

    The figures count the matrices that no K-quant could take and stayed larger.
    """
    f16, merged, dataset = (artifact.load(out, stage) for stage in ("f16", "merged", "dataset"))

    def work(folder: Path) -> dict[str, Any]:
        source, target = f16.path / F16_FILE, folder / FILE
        if (kinds := tensor_types(source)).keys() & _K_QUANTS:
            raise ModelFileError(f"{source}: holds {dict(kinds)}; quantize from f16, bf16 or f32")
        tokenizer = load_tokenizer(merged.path)
        examples = read_examples(dataset.path / "train.jsonl")[:_IMATRIX_EXAMPLES]
        texts = [tokenize(tokenizer, recipe.base.family, example) for example in examples]
        weighed = imatrix.write(folder / imatrix.FILE, merged.path, source, texts)
        quantize_file(source, target, "Q4_K_M", folder / imatrix.FILE)
        found = tensor_types(target)
        matrices = {kind: n for kind, n in found.items() if kind != "F32"}
        if not matrices.keys() & _K_QUANTS:
            raise GateError(f"{target.name}: no tensor became a K-quant: {dict(found)}; rows must be multiples of 256")
        return {
            "tensors": dict(found),
            "imatrix": {"texts": len(texts), "tensors": weighed},
            "not_k_quants": sum(n for kind, n in matrices.items() if kind not in _K_QUANTS),
            "bytes": {"f16": source.stat().st_size, "Q4_K_M": target.stat().st_size},
        }

    return artifact.make(
        out,
        "gguf",
        work,
        settings={"type": "Q4_K_M", "imatrix": _IMATRIX_EXAMPLES} | artifact.versions("llama-cpp-python", "torch"),
        inputs={made.stage: made.digest for made in (f16, merged, dataset)},
    )


def tensor_types(path: Path) -> Counter[str]:
    """How many tensors of a GGUF have which type; raises `ModelFileError` if the file is cut short."""
    try:
        return Counter(tensor.tensor_type.name for tensor in gguf().GGUFReader(path).tensors)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ModelFileError(f"{path}: no whole GGUF ({error}); `poem-build convert` makes it again") from error


def quantize_file(source: Path, target: Path, kind: Quantization, importance: Path | None = None) -> None:
    """Quantize by llama.cpp as it chooses the tensors' types itself; `importance` is an importance matrix's file.

    Raises `ModelFileError` if llama.cpp refuses.
    """
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    if importance:
        params.imatrix = imatrix.for_llama(importance)
    with warnings_of_llama() as said:
        failed = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    if failed:
        raise ModelFileError(f"{source}: llama.cpp would not quantize it: {said[-1] if said else 'no reason given'}")
