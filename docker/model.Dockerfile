# The images that hold a model: `model` (on Ollama; the default) and `embedded` (the service with the model in it).
# MODEL_FROM chooses where it comes from: `trained` makes it here, `artifacts` takes artifacts/<recipe>[-<game>] as it
# lies. GAME_DIR is the folder of a game in the build context, and GAME_NAME its name; without them it is the built-in one.
# Stages that stand in build.Dockerfile or service.Dockerfile too are the same there, word for word.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG OLLAMA_BASE_IMAGE=ollama/ollama:0.33.0
ARG MODEL_FROM=trained
ARG EXTRA=embedded
ARG RECIPE=tiny
ARG MODEL_LICENCE="see /usr/share/mansion-poem/modelfile/create.json"
ARG MODEL_GGUF=""
ARG MODEL_VERDICT=""
ARG MODEL_GAME_DIGEST=""
ARG GAME_NAME=""

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

FROM scratch AS game
ARG GAME_DIR=game/poem/builtin
COPY ${GAME_DIR} /

# `docker compose` alone does not bring another game's folder here: it would train the built-in one under that name.
FROM build AS trained
ARG RECIPE
ARG GAME_NAME
ARG GAME_DIR=game/poem/builtin
RUN if [ -n "${GAME_NAME}" ] && [ "${GAME_DIR}" = game/poem/builtin ]; then echo "GAME_NAME=${GAME_NAME}: its folder is not in the build; make image GAME=DIR puts it there" >&2; exit 1; fi
RUN --mount=type=bind,from=game,target=/from-game \
    mkdir --parents /games \
 && cp --recursive /from-game "/games/${GAME_NAME:-builtin}" \
 && poem-build run --recipe "${RECIPE}" ${GAME_NAME:+--game "/games/${GAME_NAME}"} --out /model \
 && find /model -name '*.safetensors' -delete \
 && rm /model/f16/model-f16.gguf

FROM scratch AS artifacts
ARG RECIPE
ARG GAME_NAME
COPY artifacts/${RECIPE}${GAME_NAME:+-${GAME_NAME}}/dataset /model/dataset
COPY artifacts/${RECIPE}${GAME_NAME:+-${GAME_NAME}}/adapter/artifact.json /model/adapter/artifact.json
COPY artifacts/${RECIPE}${GAME_NAME:+-${GAME_NAME}}/merged/artifact.json /model/merged/artifact.json
COPY artifacts/${RECIPE}${GAME_NAME:+-${GAME_NAME}}/f16/artifact.json /model/f16/artifact.json
COPY artifacts/${RECIPE}${GAME_NAME:+-${GAME_NAME}}/gguf /model/gguf
COPY artifacts/${RECIPE}${GAME_NAME:+-${GAME_NAME}}/modelfile /model/modelfile
COPY artifacts/${RECIPE}${GAME_NAME:+-${GAME_NAME}}/verify /model/verify

# hadolint ignore=DL3006
FROM ${MODEL_FROM} AS chosen

# From what, and through which gates: every stage's manifest, and what Ollama is given beside the weights.
FROM ${PYTHON_IMAGE} AS provenance
WORKDIR /chosen
RUN --mount=type=bind,from=chosen,source=/model,target=/chosen \
    mkdir /provenance \
 && cp --parents -- */artifact.json modelfile/create.json /provenance

# hadolint ignore=DL3006
FROM ${OLLAMA_BASE_IMAGE} AS ollama

# The base's own Ollama creates the model, and `poem-build register` proves over HTTP that it is served as it was
# trained. What is kept of the store is what the manifests name.
FROM ${PYTHON_IMAGE} AS proved
ARG RECIPE
ARG GAME_NAME
WORKDIR /mansion-poem
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
 && apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 libstdc++6 \
 && rm -rf /var/lib/apt/lists/*
COPY constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/register \
 && /opt/register/bin/pip install --constraint constraints.txt click filelock httpx jinja2 pydantic safetensors tqdm
COPY docker/store.sh /usr/local/bin/store
COPY game game
COPY build build
COPY modelfiles modelfiles
COPY --from=chosen /model /model
RUN --mount=type=bind,from=ollama,target=/base --mount=type=bind,from=game,target=/from-game \
    mkdir --parents /games \
 && cp --recursive /from-game "/games/${GAME_NAME:-builtin}" \
 && PATH=$PATH:/base/usr/local/bin:/base/usr/bin PYTHONPATH=game:build HOME=/tmp OLLAMA_MODELS=/tmp/models \
    /opt/register/bin/python -c 'from poem_build.cli.main import main; main()' \
      register --as-it-lies --recipe "${RECIPE}" ${GAME_NAME:+--game "/games/${GAME_NAME}"} --out /model \
 && store /tmp/models /store/weights/models /store/rest/models

FROM scratch AS wheels-service

FROM llama AS wheels-embedded

# hadolint ignore=DL3006
FROM wheels-${EXTRA} AS wheels

# What the extra asks for, without the project itself: it moves only when the pins do.
FROM ${PYTHON_IMAGE} AS packages
ARG EXTRA
WORKDIR /src
RUN python3 -m venv --without-pip /opt/mansion-poem \
 && mkdir -p game/poem service/poem_service build/poem_build \
 && touch README.md
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=bind,from=wheels,target=/from-wheels \
    python3 -m pip --python /opt/mansion-poem/bin/python install \
      --constraint constraints.txt --find-links /from-wheels/wheels ".[${EXTRA}]" \
 && python3 -m pip --python /opt/mansion-poem/bin/python uninstall --yes mansion-poem

FROM packages AS code
COPY game game
COPY service service
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/mansion-poem/bin/python install --no-deps --ignore-installed --prefix /opt/code .

FROM ${PYTHON_IMAGE} AS service
LABEL org.opencontainers.image.title="mansion-poem-service" \
      org.opencontainers.image.description="Writes the poems of the card game, and never answers a valid hand with an error" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin poem \
 && install --directory --owner 10001 --group 10001 /data
COPY --from=packages /opt/mansion-poem /opt/mansion-poem
COPY --from=code /opt/code /opt/mansion-poem
ENV PATH=/opt/mansion-poem/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp POEM_HOST=0.0.0.0
USER 10001:10001
EXPOSE 3001
CMD ["poem-service"]

FROM service AS embedded
ARG RECIPE
ARG MODEL_LICENCE
ARG MODEL_GGUF
ARG MODEL_VERDICT
ARG GAME_NAME
ARG MODEL_GAME_DIGEST
LABEL org.opencontainers.image.title="mansion-poem-service" \
      org.opencontainers.image.description="The service with the model of recipe ${RECIPE} in it" \
      org.opencontainers.image.licenses="MIT" \
      mansion-poem.recipe="${RECIPE}" \
      mansion-poem.game="${GAME_NAME}" \
      mansion-poem.game-digest="${MODEL_GAME_DIGEST}" \
      mansion-poem.licence="${MODEL_LICENCE}" \
      mansion-poem.gguf="${MODEL_GGUF}" \
      mansion-poem.verdict="${MODEL_VERDICT}" \
      mansion-poem.provenance="/usr/share/mansion-poem"
COPY --from=chosen /model/gguf/model-Q4_K_M.gguf /model/gguf/adapter.ggu[f] /model/gguf/verdict.jso[n] /models/
COPY --from=provenance /provenance /usr/share/mansion-poem
ENV POEM_ENGINE=embedded POEM_GGUF=/models/model-Q4_K_M.gguf

FROM ollama AS model
ARG RECIPE
ARG MODEL_LICENCE
ARG MODEL_GGUF
ARG MODEL_VERDICT
ARG GAME_NAME
ARG MODEL_GAME_DIGEST
LABEL org.opencontainers.image.title="mansion-poem-model" \
      org.opencontainers.image.description="Ollama with the model of recipe ${RECIPE}" \
      org.opencontainers.image.licenses="${MODEL_LICENCE}" \
      mansion-poem.recipe="${RECIPE}" \
      mansion-poem.game="${GAME_NAME}" \
      mansion-poem.game-digest="${MODEL_GAME_DIGEST}" \
      mansion-poem.licence="${MODEL_LICENCE}" \
      mansion-poem.gguf="${MODEL_GGUF}" \
      mansion-poem.verdict="${MODEL_VERDICT}" \
      mansion-poem.provenance="/usr/share/mansion-poem"
COPY docker/serve-model.sh /usr/local/bin/serve-model
COPY --from=proved /store/weights /
COPY --from=proved /store/rest /
COPY --from=provenance /provenance /usr/share/mansion-poem
COPY --from=proved /model/register/artifact.json /usr/share/mansion-poem/register/artifact.json
# The LLAMA_ARG_ variables keep the instructions in the cache: one that slides with the window has lost them when the next
# hand comes, and a prompt that is put aside in memory comes back as a window only.
ENV OLLAMA_HOST=0.0.0.0:11434 OLLAMA_MODELS=/models OLLAMA_NOPRUNE=1 OLLAMA_NO_CLOUD=1 OLLAMA_GO_TEMPLATE=1 \
    OLLAMA_KEEP_ALIVE=-1 OLLAMA_MAX_LOADED_MODELS=1 LLAMA_ARG_SWA_FULL=1 LLAMA_ARG_CACHE_RAM=0 HOME=/tmp
USER 10001:10001
EXPOSE 11434
ENTRYPOINT ["serve-model"]
CMD []
