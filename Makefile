# Every target sets itself up; nothing is installed outside .venv.
PYTHON ?= python3
RECIPE ?= tiny
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := service,embedded,build,dev

.PHONY: setup demo test test-all bench check format docs

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	CMAKE_ARGS="-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=$(CURDIR)/build/llama.cpp.cmake $(CMAKE_ARGS)" \
	  $(BIN)/pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	$(BIN)/python -m poem_build.converter
	touch $(READY)

demo: setup
	@$(BIN)/python -m poem_build.demo --recipe $(RECIPE) $(if $(ONCE),--once)

test: setup
	$(BIN)/python -m pytest -m "not long"

test-all: setup
	$(BIN)/python -m pytest

bench: setup
	$(BIN)/python -m bench

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: setup
	$(BIN)/python docs/generate.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
