# Every target sets itself up; nothing is installed outside .venv.
PYTHON ?= python3
RECIPE ?= tiny
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := service,embedded,build,teacher,dev

# What works with Docker runs before any set-up: the machine's own Python (3.10 or later), standard library only.
# Folders are quoted: their paths may hold blanks.
GAME_ARGS = $(if $(GAME),--game "$(GAME)")
STACK_ARGS = $(if $(filter file,$(origin RECIPE)),,--recipe $(RECIPE)) $(GAME_ARGS) $(if $(GPU),--gpu $(GPU)) $(if $(STACK),--stack $(STACK))
TEACHER_ARGS = $(if $(TEACHER),--teacher $(TEACHER) $(if $(TEACHER_MODEL),--teacher-model "$(TEACHER_MODEL)") $(if $(BATCH),--batch) $(if $(PHASE),--phase $(PHASE)) $(if $(TABLE),--table $(TABLE)) $(if $(MAX_COST),--max-cost $(MAX_COST)))
IMAGE_ARGS = $(STACK_ARGS) $(if $(BASE),--base "$(BASE)") $(if $(UNMERGED),--unmerged) $(if $(KEEP),--keep) $(TEACHER_ARGS)
DOCKER_STACK := PYTHONPATH=build:game $(PYTHON) -m poem_build.ship.stack

.PHONY: setup demo real test test-all test-docker bench scale check format docs manifests up image rollback bundle sbom

setup: $(READY)

$(READY): pyproject.toml constraints.txt build/environment.py
	@$(PYTHON) build/environment.py $(VENV) $(EXTRAS)
	@touch $(READY)

demo: setup
	@$(BIN)/python -m poem_build.cli.demo --recipe $(RECIPE) $(GAME_ARGS) $(if $(BASE),--base "$(BASE)") $(if $(ONCE),--once)

real: setup
	@$(BIN)/python -m poem_build.cli.real $(if $(MODEL),--model $(MODEL)) $(GAME_ARGS) $(if $(STEPS),--steps $(STEPS))

test: setup
	$(BIN)/python -m pytest -rs -m "not long and not docker" -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

test-all: setup
	$(BIN)/python -m pytest

# With an Ollama to build on: make test-docker OLLAMA_BASE_IMAGE=ollama/ollama:0.33.0
test-docker: setup
	$(BIN)/python -m pytest -m docker

up:
	@$(DOCKER_STACK) up $(STACK_ARGS)

image:
	@$(DOCKER_STACK) image $(IMAGE_ARGS)

rollback:
	@$(DOCKER_STACK) rollback

bundle: setup
	@$(DOCKER_STACK) image $(IMAGE_ARGS) --bundle

sbom: setup
	@$(BIN)/python -m poem_build.ship.sbom $(STACK_ARGS)

bench: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python -m bench

# Three services, two engines, nginx and PostgreSQL on this machine, each restarted under 20,000 hands; HANDS= for fewer.
scale: setup
	@$(BIN)/poem-build run --recipe tiny
	$(BIN)/python -m bench.scale $(if $(HANDS),--hands $(HANDS))

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# What deploy/chart renders for each value set, for whoever has kubectl and no helm.
manifests:
	@for values in deploy/values/*.yaml; do \
	  helm template mansion-poem deploy/chart --namespace mansion-poem --kube-version 1.30 --values $$values > deploy/manifests/$${values##*/} || exit; \
	done

docs: setup
	$(BIN)/python docs/generate.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
