#!/bin/sh
# Ollama with as many threads as the machine can spare: llama.cpp's threads spin while they wait for each other,
# so that is half of the cores unless MODEL_THREADS says otherwise.
set -eu
LLAMA_ARG_THREADS=${MODEL_THREADS:-$((($(nproc) + 1) / 2))}
export LLAMA_ARG_THREADS
exec ollama serve
