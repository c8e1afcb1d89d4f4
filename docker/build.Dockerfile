# The build stage: `poem-build` with all it needs, from the cards to a verified GGUF.
# Stages that stand in model.Dockerfile too are the same there, word for word, so that BuildKit builds them once.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# llama-cpp-python for any x86-64 with AVX2, or any arm64; it needs nothing but libstdc++ at run time.
FROM ${PYTHON_IMAGE} AS llama
ARG LLAMA_CPP_PYTHON=0.3.36
ARG CMAKE_BUILD_PARALLEL_LEVEL=
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
 && apt-get update \
 && apt-get install -y --no-install-recommends g++ make \
 && rm -rf /var/lib/apt/lists/*
COPY build/llama.cpp.cmake /src/llama.cpp.cmake
RUN --mount=type=cache,target=/root/.cache/pip \
    CMAKE_ARGS="-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=/src/llama.cpp.cmake" \
    python3 -m pip wheel --no-deps --wheel-dir /wheels "llama-cpp-python==${LLAMA_CPP_PYTHON}"

# TORCH_INDEX chooses the variant: PyTorch's index for the CPU, the one for CUDA, or the package index (CUDA too).
FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=build,teacher
LABEL org.opencontainers.image.title="mansion-poem-build" \
      org.opencontainers.image.description="From the cards to a model that Ollama serves" \
      org.opencontainers.image.licenses="MIT"
WORKDIR /mansion-poem
RUN python3 -m venv /opt/build \
 && mkdir -p game/poem service/poem_service build/poem_build \
 && touch README.md
ENV PATH=/opt/build/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/tmp/.cache/pip \
    torch="$(grep '^torch==' constraints.txt)" \
 && pip install --no-deps --index-url "${TORCH_INDEX}" "$torch"
RUN --mount=type=cache,target=/tmp/.cache/pip --mount=type=bind,from=llama,target=/from-llama \
    pip install --constraint constraints.txt --find-links /from-llama/wheels ".[${EXTRAS}]" \
 && pip uninstall --yes mansion-poem
COPY game game
COPY build build
COPY service service
COPY modelfiles modelfiles
RUN --mount=type=cache,target=/tmp/.cache/pip \
    pip install --no-deps --editable . \
 && python -m poem_build.models.converter \
 && install --directory --mode 1777 artifacts
ENTRYPOINT ["poem-build"]
CMD ["--help"]
