"""llama.cpp in this process as an engine: a GGUF, its own chat template and our grammar → the answer's pieces.

One worker thread does all of it, so two asks never meet in one context, and the tokens that an ask shares
with the one before it are not evaluated again. Pieces are put together from raw bytes: the library's own
text drops what does not decode, and an answer with a hole must be seen as broken.
"""

import asyncio
import codecs
import ctypes
import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from poem.model_keys import ADAPTER_FILE, VERDICT_FILE, standing_keys
from poem_service.engine.grammar import form_grammar
from poem_service.engine.protocol import TRAINING_KEYS, Ask, Chat, ModelFacts, Piece, Training
from poem_service.errors import AnswerError, CutError, Reason, RefusedError, UnavailableError
from poem_service.variables import ALL_LAYERS

CONTEXT = 4096
ANSWER_TOKENS_MAX = 1024
TOLD_MAX = 1024
"""Bytes of a text that an adapter's file tells."""
# What a GGUF says of its sampling, under llama.cpp's own keys; the defaults are Ollama's.
SAMPLING: dict[str, tuple[str, float]] = {
    "temp": ("general.sampling.temp", 0.8),
    "top_k": ("general.sampling.top_k", 40),
    "top_p": ("general.sampling.top_p", 0.9),
    "min_p": ("general.sampling.min_p", 0.0),
    "repeat_penalty": ("general.sampling.penalty_repeat", 1.0),
}

Emit = Callable[[str | None], None]
Answering = Callable[["Model"], Iterator[bytes]]


class EmbeddedEngine:
    """A GGUF file, loaded into this process."""

    name = "embedded"

    def __init__(self, path: Path, layers: int | None = None) -> None:
        os.environ["GGML_NO_BACKTRACE"] = "1"  # read when llama.cpp is loaded, here or in the trial's process
        self._path = path
        self._layers = ALL_LAYERS if layers is None else layers
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="llama")
        self._model: Model | None = None
        self._closing = threading.Event()
        self._refused: tuple[tuple[int, int], UnavailableError] | None = None

    async def inspect(self) -> ModelFacts:
        if self._model is None:
            if not self._path.is_file():
                raise UnavailableError(Reason.MODEL_MISSING, f"{self._path} is not there")
            if self._refused and self._refused[0] == _stamp(self._path):
                raise self._refused[1]
            return ModelFacts(self._path.name, loaded=False)
        return self._model.facts

    async def load(self) -> None:
        stamp = _stamp(self._path)
        try:
            await _bears(self._path, self._layers)
        except UnavailableError as error:
            if error.reason in (Reason.MODEL_MISSING, Reason.NO_ENGINE):
                self._refused = stamp, error  # not tried again until the file is another
            raise
        self._model = await asyncio.get_running_loop().run_in_executor(self._worker, Model, self._path, self._layers)

    async def unload(self) -> None:
        return None  # the one thread that might let go is the one that hangs

    def write(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        return self._pieces(lambda model: model.answer(ask))

    def chat(self, chat: Chat) -> AsyncGenerator[Piece, None]:
        return self._pieces(lambda model: model.chat(chat))

    async def _pieces(self, answer: Answering) -> AsyncGenerator[Piece, None]:
        model = self._model
        if model is None:
            raise UnavailableError(Reason.LOADING, f"{self._path.name} is not loaded")
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        stop = threading.Event()

        def emit(piece: str | None) -> None:
            if not self._closing.is_set():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        work = loop.run_in_executor(self._worker, _generate, lambda: answer(model), stop, emit)
        try:
            while (piece := await pieces.get()) is not None:
                yield Piece(piece)
            await work
        finally:
            stop.set()
            work.add_done_callback(lambda done: None if done.cancelled() else done.exception())

    async def aclose(self) -> None:
        self._closing.set()
        self._worker.shutdown(wait=False, cancel_futures=True)


async def _bears(path: Path, layers: int) -> None:
    """Raise `UnavailableError` if llama.cpp does not load the file, or dies of it, in a process of its own."""
    trial = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "poem_service.engine.trial", str(path), str(layers)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        told, _ = await trial.communicate()
    except asyncio.CancelledError:
        trial.kill()
        await trial.wait()
        raise
    if trial.returncode == 1:
        raise UnavailableError(Reason.MODEL_MISSING, told.decode("utf-8", "replace"))
    if trial.returncode == -signal.SIGKILL:  # the system's way to get memory back: no fault of the file's
        raise UnavailableError(Reason.LOADING, f"loading {path.name} was killed; it needs more free memory")
    if trial.returncode == -signal.SIGILL:  # as it comes in our images it is built for AVX2
        raise UnavailableError(Reason.NO_ENGINE, "this processor lacks what llama.cpp was built for; take Ollama")
    if trial.returncode != 0:
        raise UnavailableError(Reason.MODEL_MISSING, f"llama.cpp died of {path.name} (status {trial.returncode})")


def _generate(answer: Callable[[], Iterator[bytes]], stop: threading.Event, emit: Emit) -> None:
    """In the worker: emit the answer's pieces, then None; raises if the answer is not whole."""
    try:
        if stop.is_set():  # given up while it waited for its turn
            return
        decoder = codecs.getincrementaldecoder("utf-8")("strict")
        for raw in answer():
            if stop.is_set():
                return
            if piece := decoder.decode(raw):
                emit(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise AnswerError(Reason.MALFORMED, f"bytes that are no UTF-8: {error}") from error
    finally:
        emit(None)


def _cores() -> int:
    """How many this process may use; macOS and Windows tell only how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def verdict_beside(gguf: Path) -> dict[str, str]:
    """What the build left in `verdict.json` beside the model that it judged, as a stamped GGUF has it."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        found = json.loads((gguf.parent / VERDICT_FILE).read_text("utf-8"))
        return standing_keys(str(found.get("verdict", "")), found.get("forced", ()))
    return {}


class Model:
    """What llama.cpp holds; used by the worker thread only, but for `facts`."""

    def __init__(self, path: Path, layers: int) -> None:
        import llama_cpp
        from jinja2.exceptions import TemplateError

        from poem_service.engine.template import ChatTemplate

        self._lib: Any = llama_cpp
        # Threads spin while they wait for each other: on a core that is also wanted elsewhere, an answer of 3 s
        # was seen to take 68 s. Half of the cores is what the machine can spare.
        threads = max(1, _cores() // 2)
        adapter = path.with_name(ADAPTER_FILE)  # of one game, on a base that several share
        lora = adapter if adapter.is_file() else None
        try:
            self._llama: Any = llama_cpp.Llama(
                str(path),
                n_ctx=CONTEXT,
                n_threads=threads,
                n_threads_batch=threads,
                n_gpu_layers=layers,
                swa_full=True,
                lora_path=str(lora) if lora else None,
                verbose=False,
            )
            metadata: dict[str, str] = self._llama.metadata | self._told_by_adapter() | verdict_beside(path)
            self._template = ChatTemplate(metadata["tokenizer.chat_template"])
        except KeyError as error:
            raise UnavailableError(Reason.MODEL_MISSING, f"{path.name} has no chat template") from error
        except (ValueError, RuntimeError, OSError, TemplateError) as error:
            raise UnavailableError(Reason.MODEL_MISSING, f"{path.name} cannot be loaded: {error}") from error
        self._vocab = llama_cpp.llama_model_get_vocab(self._llama.model)
        self._context = min(CONTEXT, llama_cpp.llama_model_n_ctx_train(self._llama.model))
        self._sampling = {name: type(default)(metadata.get(key, default)) for name, (key, default) in SAMPLING.items()}
        share = self._gpu_share(layers)
        self.facts = ModelFacts(path.name, f"sha256:{_sha256(lora or path)}", Training.of(metadata), vram_share=share)

    def _told_by_adapter(self) -> dict[str, str]:
        """What the adapter's own GGUF says of its training and sampling, where there is one."""
        adapter = self._llama._lora_adapter
        if adapter is None:
            return {}
        told, value = {}, ctypes.create_string_buffer(TOLD_MAX)
        for key in (*(key for key, _ in SAMPLING.values()), *TRAINING_KEYS):
            if self._lib.llama_adapter_meta_val_str(adapter, key.encode(), value, TOLD_MAX) >= 0:
                told[key] = value.value.decode("utf-8", "replace")
        return told

    def _gpu_share(self, layers: int) -> float:
        """Of the layers, the output's among them, the share that is on a GPU; none where llama.cpp sees no GPU."""
        if not self._lib.llama_supports_gpu_offload():
            return 0.0
        there = int(self._lib.llama_model_n_layer(self._llama.model)) + 1
        return 1.0 if layers == ALL_LAYERS else min(layers, there) / there

    def answer(self, ask: Ask) -> Iterator[bytes]:
        """The raw bytes of an answer, token by token, under the grammar, to its end.

        Raises `RefusedError` for a hand that does not fit.
        """
        if unspelt := next((title for title in ask.candidates if not self._can_spell(title)), None):
            # llama.cpp ends the process when a grammar's next literal has no token.
            raise UnavailableError(Reason.UPSTREAM_ERROR, f"the vocabulary cannot spell {unspelt!r}")
        tokens = self._tokens(self._template.render(ask.prompt, **self._marks()))
        room = min(ANSWER_TOKENS_MAX, self._context - len(tokens))
        if room < ANSWER_TOKENS_MAX // 4:
            raise RefusedError(Reason.UPSTREAM_ERROR, 400, f"{len(tokens)} tokens leave no room for an answer")
        return self._run(tokens, room, ask.seed, ask.grammar, self._sampling)

    def chat(self, chat: Chat) -> Iterator[bytes]:
        """The same for a client's own messages. Raises `RefusedError` for those that do not fit."""
        tokens = self._tokens(self._template.render_chat(list(chat.messages), **self._marks()))
        room = min(chat.tokens_max or ANSWER_TOKENS_MAX, self._context - len(tokens))
        if room < 1:
            raise RefusedError(Reason.UPSTREAM_ERROR, 400, f"{len(tokens)} tokens leave no room for an answer")
        own = {"temp": chat.temperature, "top_p": chat.top_p}
        sampling = self._sampling | {name: value for name, value in own.items() if value is not None}
        return self._run(tokens, room, chat.seed, form_grammar(chat.form, self._can_spell), sampling)

    def _run(
        self, tokens: list[int], room: int, seed: int, gbnf: str | None, sampling: dict[str, float]
    ) -> Iterator[bytes]:
        self._llama.set_seed(seed)
        grammar = gbnf and self._grammar(gbnf)
        for n, token in enumerate(self._llama.generate(tokens, grammar=grammar, **sampling)):
            if self._lib.llama_vocab_is_eog(self._vocab, token):
                return
            if n >= room:
                break
            yield self._bytes(token)
        raise CutError(f"no end within {room} tokens")

    def _grammar(self, gbnf: str) -> Any:
        """As `generate` takes it. Raises `RefusedError` for one that llama.cpp cannot read: it would die of it."""
        read = self._lib.llama_sampler_init_grammar(self._vocab, gbnf.encode(), b"root")
        if not read:
            raise RefusedError(Reason.UPSTREAM_ERROR, 400, "llama.cpp cannot read the schema's grammar")
        self._lib.llama_sampler_free(read)
        return self._lib.LlamaGrammar.from_string(gbnf, verbose=False)

    def _marks(self) -> dict[str, str]:
        """The tokens that a template may write itself."""
        return {
            "bos_token": self._special(self._lib.llama_vocab_bos(self._vocab)),
            "eos_token": self._special(self._lib.llama_vocab_eos(self._vocab)),
        }

    def _tokens(self, text: str) -> list[int]:
        bos = self._lib.llama_vocab_bos(self._vocab)
        starts_itself = bos >= 0 and text.startswith(self._special(bos) or "\0")
        tokens: list[int] = self._llama.tokenize(text.encode(), add_bos=not starts_itself, special=True)
        return tokens

    def _can_spell(self, text: str) -> bool:
        tokens = self._llama.tokenize(text.encode(), add_bos=False, special=False)
        return b"".join(map(self._bytes, tokens)).decode("utf-8", "replace").strip() == text.strip()

    def _special(self, token: int) -> str:
        return self._bytes(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def _bytes(self, token: int, *, special: bool = False) -> bytes:
        """The token's bytes; the library says by a negative number how large a buffer it wants."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = self._lib.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            if n >= 0:
                return buffer.raw[:n]
            size = -n


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when the file does."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
