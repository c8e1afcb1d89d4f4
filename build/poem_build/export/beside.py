"""A base and an adapter → the base's GGUF, which games share, and the adapter's beside it: `ADAPTER` in Ollama.

The format knows one strength for all matrices, B·A · alpha / rank, and no more than matrices. What else peft reckons a
strength from (rsLoRA, `alpha_pattern`) goes into B; what it cannot hold is refused by name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from poem.model_keys import ADAPTER_FILE
from poem_build.errors import ModelFileError
from poem_build.export import edits, parity, shared
from poem_build.export.edits import Product
from poem_build.export.gguf import completed, introduce, translated
from poem_build.export.of_base import refuse_other_base
from poem_build.export.quantization import tensor_types
from poem_build.export.quantized import QuantizeReport, gate, not_k_quants
from poem_build.models import architectures, family
from poem_build.models.converter import VERSION, adapters, converter, gguf, quiet
from poem_build.models.files import SERVED
from poem_build.models.origin import Origin, read_origin, write_origin
from poem_build.models.shapes import of_folder
from poem_build.recipe.schema import Recipe
from poem_build.store.folder import link
from poem_build.store.stage import ALL, Job, Stage, part, sections

_REMEDY = "leave serve.unmerged out, and it is merged"


def run(job: Job) -> QuantizeReport:
    """Link the base's files, made now if nobody has made them, and write the adapter's."""
    base, adapter, recipe = job.path("base"), job.path("adapter"), job.recipe
    refuse_other_base(job.inputs["base"], adapter)
    products = products_of(base, adapter)
    room = job.folder.parent.parent / shared.FOLDER
    files = shared.base_files(recipe, base, job.inputs["base"].digest(), room)
    for path in files.values():
        link(path, job.folder / path.name)
    parity.refuse(parity.compare(base, job.folder / SERVED, recipe, job.game))
    origin = write_origin(job.folder, read_origin(adapter))
    convert_adapter(base, products, job.folder / ADAPTER_FILE, recipe, origin)
    found = tensor_types(job.folder / SERVED)
    return QuantizeReport(
        tensors=dict(found),
        imatrix=None,
        not_k_quants=not_k_quants(found),
        bytes={kind: path.stat().st_size for kind, path in files.items()}
        | {"adapter": (job.folder / ADAPTER_FILE).stat().st_size},
    )


def products_of(base: Path, adapter: Path) -> dict[str, Product]:
    """What the adapter adds to which tensor. Raises `ModelFileError` for what no GGUF of an adapter can hold."""
    architectures.refuse_as_adapter(of_folder(base).architecture, str(adapter))
    layout = edits.lay_out(base, adapter)
    if layout.unplain:
        raise ModelFileError(f"{adapter}: serve.unmerged: a GGUF cannot hold it: {layout.unplain}; {_REMEDY}")
    found: dict[str, Product] = {}
    for name, edit in layout.edits.items():
        if not isinstance(edit, Product) or edit.transposed:
            kind = "trained tokens" if isinstance(edit, edits.Tokens) else "a tensor trained as a whole"
            kind = "a transposed matrix" if isinstance(edit, Product) else kind
            raise ModelFileError(f"{adapter}: serve.unmerged: a GGUF cannot hold {kind} ({name}); {_REMEDY}")
        found[name] = edit
    return found


def convert_adapter(base: Path, products: Mapping[str, Product], target: Path, recipe: Recipe, origin: Origin) -> None:
    """Write the matrices as llama.cpp's own script does, each B at its strength.

    Raises `ModelFileError` for a tensor that the converter cannot place.
    """
    import torch

    conversion, lora = converter(), adapters()
    with translated(base):
        hparams = completed(conversion.ModelBase.load_hparams(base, False))
        known = conversion.get_model_class(conversion.get_model_architecture(hparams, conversion.ModelType.TEXT))
    strengths = {name: one.scale * one.a.shape[0] for name, one in products.items()}
    alpha = next(iter(strengths.values()))

    class Converted(known):  # type: ignore[misc, valid-type]
        model_arch = known.model_arch

        def set_vocab(self) -> None:
            pass

        def set_type(self) -> None:
            self.gguf_writer.add_type(gguf().GGUFType.ADAPTER)
            self.gguf_writer.add_string(gguf().Keys.Adapter.TYPE, "lora")

        def set_gguf_parameters(self) -> None:
            self.gguf_writer.add_float32(gguf().Keys.Adapter.LORA_ALPHA, alpha)
            introduce(self.gguf_writer, recipe, origin)

        def generate_extra_tensors(self) -> tuple[()]:
            return ()  # factors of the rope and their like are the base's

        def get_tensors(self) -> Iterator[tuple[str, Any]]:
            for name, one in products.items():
                if placed := self.filter_tensors((name, lambda: None)):
                    b = one.b.whole().float() * (strengths[name] / alpha)
                    yield placed[0], lora.LoraTorchTensor(one.a.whole().float(), b)

        def modify_tensors(self, data_torch: Any, name: str, bid: int | None) -> Iterator[tuple[str, Any]]:
            for placed, matrices in super().modify_tensors(data_torch, name, bid):
                a, b = matrices.get_lora_A_B()
                yield f"{placed}.lora_a", a
                yield f"{placed}.lora_b", b

    with quiet(), torch.inference_mode(), translated(base):
        kind = gguf().LlamaFileType.MOSTLY_F16
        Converted(base, kind, target, model_name=recipe.name, hparams=hparams, eager=True).write()


STAGE = Stage(
    name="quantize",
    summary="Put the adapter's GGUF beside the base's in Q4_K_M, which games share.",
    makes="gguf",
    work=run,
    report=QuantizeReport,
    settings=lambda recipe: {
        **{"name": recipe.name, "converter": VERSION},
        "quantize": recipe.quantize.model_dump(mode="json", include={"types"}),
        **sections("base", "serve")(recipe),
        **part("gate", "token_parity_texts")(recipe),
    },
    inputs={"base": ALL, "adapter": ALL},
    reads_game=True,
    outside=family.templates,
    modules=family.modules,
    packages=("torch", "transformers", "peft", "llama-cpp-python"),
    gate=gate,
)
