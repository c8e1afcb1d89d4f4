# The service, with what its extra needs and nothing else: no compiler, no build stage.
# Stages that stand in model.Dockerfile too are the same there, word for word, so that BuildKit builds them once.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG EXTRA=service

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

FROM scratch AS wheels-service

FROM scratch AS wheels-postgresql

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
