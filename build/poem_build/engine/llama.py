"""A GGUF file → tokens, logits and text, by llama.cpp in process."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poem.model_keys import ADAPTER_FILE
from poem_build.errors import ModelFileError, UnfinishedError
from poem_build.models.device import gpu_layers
from poem_build.recipe.schema import Serve

if TYPE_CHECKING:
    import numpy as np

_PIECE = 32
_WARNING = 3  # GGML_LOG_LEVEL_WARN


@contextmanager
def warnings_of_llama() -> Iterator[list[str]]:
    """What llama.cpp warns of meanwhile, collected instead of printed."""
    import llama_cpp
    from llama_cpp._logger import llama_log_callback

    said: list[str] = []

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def log(level: int, text: bytes, _: Any) -> None:
        if level >= _WARNING:
            said.append(text.decode(errors="replace").strip())

    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    try:
        yield said
    finally:
        llama_cpp.llama_log_set(llama_log_callback, ctypes.c_void_p(0))


class Llama:
    """A loaded model, with the adapter that lies beside it. Raises `ModelFileError` if either is no whole GGUF."""

    def __init__(self, path: Path, context: int = 0, *, vocab_only: bool = False) -> None:
        import llama_cpp

        self._lib, adapter = llama_cpp, path.with_name(ADAPTER_FILE)
        adapted = adapter.is_file() and not vocab_only
        try:
            with warnings_of_llama():
                self._model = llama_cpp.Llama(
                    str(path),
                    n_ctx=context or 512,
                    n_gpu_layers=0 if vocab_only else gpu_layers(),
                    vocab_only=vocab_only,
                    lora_path=str(adapter) if adapted else None,
                    verbose=False,
                )
        except (ValueError, AssertionError) as error:
            raise ModelFileError(f"{path}: llama.cpp cannot load it; it is cut short or no GGUF") from error
        except RuntimeError as error:
            raise _refused(adapter, path) from error
        # The package takes llama.cpp's refusal, a null pointer, for an adapter; the first token would end the process.
        if adapted and not self._model._lora_adapter:
            raise _refused(adapter, path)

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        """Token ids with special tokens read as such; `bos` adds the model's own where it has one."""
        ids: list[int] = self._model.tokenize(text.encode(), add_bos=bos, special=True)
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """The text that the tokens write; control tokens write nothing."""
        return b"".join(map(self._piece, ids)).decode(errors="replace")

    def pieces(self, prompt: str, serve: Serve, seed: int, grammar: str | None = None) -> Iterator[bytes]:
        """The model's text up to its end of turn, token by token: pieces of UTF-8 that need not end with a character.

        Raises `UnfinishedError` if the model has not ended after `num_predict` tokens.
        """
        constraint = self._lib.LlamaGrammar.from_string(grammar, verbose=False) if grammar else None
        self._model.set_seed(seed)
        tokens = self._model.generate(
            self.tokenize(prompt),
            top_k=serve.top_k,
            top_p=serve.top_p,
            min_p=serve.min_p,
            temp=serve.temperature,
            repeat_penalty=serve.repeat_penalty,
            grammar=constraint,
        )
        for n, token in enumerate(tokens):
            if self._ends(token):
                return
            if n >= serve.num_predict:
                raise UnfinishedError(f"the model had not ended after {n} tokens; raise serve.num_predict")
            yield self._piece(token)

    def answer_logits(self, prompt: Sequence[int], answer: Sequence[int], rows: int = 64) -> "Iterator[np.ndarray]":
        """What each token of the answer is drawn from: float32 logits, at most (`rows`, vocabulary) at a time.

        A large vocabulary's logits over a whole poem are hundreds of megabytes. What the prompt has in common with
        the one before is not evaluated again.
        """
        import numpy as np

        model = self._model
        ids, first = [*prompt, *answer[:-1]], len(prompt) - 1
        known = model.longest_token_prefix(model.input_ids[: model.n_tokens].tolist(), ids[:first])
        model.n_tokens = known
        model.eval(ids[known:first])
        for start in range(first, len(ids), rows):
            part = ids[start : start + rows]
            model._batch.set_batch(batch=part, n_past=start, logits_all=True)
            model._ctx.decode(model._batch)
            yield np.ctypeslib.as_array(model._ctx.get_logits(), shape=(len(part), model._n_vocab)).copy()

    def _ends(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_eog(self._model._model.vocab, token))

    def _piece(self, token: int) -> bytes:
        # The package's own detokenizer drops pieces over 32 bytes, so the buffer grows as llama.cpp asks.
        size = _PIECE
        while True:
            buffer = ctypes.create_string_buffer(size)
            written = self._lib.llama_token_to_piece(self._model._model.vocab, token, buffer, size, 0, False)
            if written >= 0:
                return buffer.raw[:written]
            size = -written


def _refused(adapter: Path, path: Path) -> ModelFileError:
    return ModelFileError(
        f"{adapter}: llama.cpp cannot load it on {path.name}; it is damaged or of another base, `poem-build quantize` "
        "makes it anew"
    )
