"""The importance matrix: what the matrices saw, and that rounding by it is exacter where it counts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from poem_build.data.chats import read_chats
from poem_build.export import imatrix
from poem_build.export.quantization import quantize_file, tensor_types
from poem_build.export.quantized import QuantizeReport
from poem_build.models.converter import gguf
from poem_build.models.family import family
from poem_build.models.files import F16, IMATRIX, SERVED
from poem_build.models.load import load_model, load_tokenizer
from poem_build.models.tokens import Tokens
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Artifact

Chain = dict[str, Artifact]


@pytest.fixture(scope="module")
def texts(chain: Chain, recipe: Recipe) -> list[Tokens]:
    tokenizer, talk = load_tokenizer(chain["merged"].path), family(recipe.base.family)
    return [talk.tokens(tokenizer, chat) for chat in read_chats(chain["dataset"].path / "train.jsonl")[:3]]


def _tensors(path: Path) -> dict[str, np.ndarray]:
    reader = gguf().GGUFReader(path)
    return {t.name: gguf().quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}


def test_it_holds_the_mean_square_of_every_matrix_s_inputs(chain: Chain, texts: list[Tokens], tmp_path: Path) -> None:
    f16, path = chain["f16"].path / F16, tmp_path / IMATRIX
    imatrix.write(path, chain["merged"].path, f16, texts)
    means = imatrix.read(path)
    matrices = {name: t for name, t in _tensors(f16).items() if t.ndim == 2 and name.startswith("blk.")}
    assert {name: mean.shape for name, mean in means.items()} == {name: t.shape[1:] for name, t in matrices.items()}
    assert gguf().GGUFReader(path).get_field("general.type").contents() == "imatrix"

    model = load_model(chain["merged"].path, "float32").eval()
    seen = []
    with torch.inference_mode():
        for text in texts:
            embedded = model.get_input_embeddings()(torch.tensor(text.prompt + text.answer))
            seen.append(model.base_model.layers[0].input_layernorm(embedded))
    assert means["blk.0.attn_q.weight"] == pytest.approx(torch.cat(seen).square().mean(0).numpy(), rel=1e-4)


def test_quantizing_by_it_errs_less_where_it_counts(chain: Chain, tmp_path: Path) -> None:
    f16, by_it = chain["f16"].path / F16, chain["gguf"].path
    quantize_file(f16, tmp_path / "plain.gguf", "Q4_K_M")
    assert tensor_types(tmp_path / "plain.gguf") == tensor_types(by_it / SERVED)
    right, plain, weighed = _tensors(f16), _tensors(tmp_path / "plain.gguf"), _tensors(by_it / SERVED)
    for name, mean in imatrix.read(by_it / IMATRIX).items():
        off = [float((np.square(found[name] - right[name]) * mean).sum()) for found in (plain, weighed)]
        assert off[1] < off[0], name
    told = chain["gguf"].report(QuantizeReport).imatrix
    assert told is not None
    assert (told.tensors, told.texts) == (len(imatrix.read(by_it / IMATRIX)), 24)
