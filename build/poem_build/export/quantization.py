"""A GGUF file → the same in fewer bits, by llama.cpp as it chooses the tensors' types itself."""

import ctypes
from collections import Counter
from pathlib import Path

from poem_build.engine.llama import warnings_of_llama
from poem_build.errors import ModelFileError
from poem_build.export import imatrix
from poem_build.models.converter import gguf

K_QUANTS = frozenset({"Q4_K", "Q5_K", "Q6_K"})


def tensor_types(path: Path) -> Counter[str]:
    """How many tensors of a GGUF have which type; raises `ModelFileError` if the file is cut short."""
    try:
        return Counter(tensor.tensor_type.name for tensor in gguf().GGUFReader(path).tensors)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ModelFileError(f"{path}: no whole GGUF ({error}); `poem-build convert` makes it again") from error


def quantize_file(source: Path, target: Path, kind: str, importance: Path | None = None) -> None:
    """Quantize to one of `MIXTURES`; `importance` is an importance matrix's file.

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
