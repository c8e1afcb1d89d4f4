"""Settings → the engine that they name, or for `auto` the first that can serve.

What an engine needs is imported here, beside a service that already answers: an HTTP client or llama.cpp
takes longer to import than all the rest.
"""

import asyncio
import importlib
import importlib.util
import logging

from poem_service.engine.protocol import Engine
from poem_service.errors import EngineError, Reason, UnavailableError
from poem_service.settings import Settings

log = logging.getLogger("poem_service.engine.choose")


async def choose(settings: Settings) -> Engine:
    """The engine to keep. Raises `UnavailableError` while there is none; asked again then, Ollama may come later."""
    match settings.engine:
        case "ollama":
            return await _ollama(settings)
        case "embedded":
            return await _embedded(settings)
        case "openai":
            return await _openai(settings)
        case "none":
            raise UnavailableError(Reason.NO_ENGINE, "POEM_ENGINE is none")
        case "auto":
            return await _auto(settings)


async def _auto(settings: Settings) -> Engine:
    engine = await _ollama(settings)
    try:
        await engine.inspect()
    except EngineError as error:
        await engine.aclose()
        if settings.gguf is None or importlib.util.find_spec("llama_cpp") is None:
            raise
        log.info("no Ollama: the embedded engine serves", extra={"seen": {"seen": error.seen}})
        return await _embedded(settings)
    except asyncio.CancelledError:
        await engine.aclose()
        raise
    return engine


async def _ollama(settings: Settings) -> Engine:
    await asyncio.to_thread(importlib.import_module, "poem_service.engine.ollama")
    from poem_service.engine.ollama import OllamaEngine

    return OllamaEngine(settings.ollama_url, settings.model)


async def _openai(settings: Settings) -> Engine:
    await asyncio.to_thread(importlib.import_module, "poem_service.engine.openai")
    from poem_service.engine.openai import OpenAIEngine

    assert settings.openai_url is not None
    return OpenAIEngine(settings.openai_url, settings.model, settings.openai_key)


async def _embedded(settings: Settings) -> Engine:
    if importlib.util.find_spec("llama_cpp") is None:
        raise UnavailableError(Reason.NO_ENGINE, "llama-cpp-python is not installed; install mansion-poem[embedded]")
    await asyncio.to_thread(importlib.import_module, "llama_cpp")
    from poem_service.engine.embedded import EmbeddedEngine

    assert settings.gguf is not None
    return EmbeddedEngine(settings.gguf, settings.gpu_layers)
