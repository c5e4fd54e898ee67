# `make` lists the targets. Each one builds what it needs: a machine with make and Python 3.11 or newer is enough.
SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
VENV_FULL := .venv-full
BIN := $(VENV)/bin
# What a finished environment was made from; when one of these changes it is brought up to date.
ENV_SOURCES := pyproject.toml scripts/venv.sh

$(VENV)/.ready: requirements/lock-ci.txt $(ENV_SOURCES)
	@PYTHON="$(PYTHON)" sh scripts/venv.sh $(VENV) requirements/lock-ci.txt
	@touch $@

$(VENV_FULL)/.ready: requirements/lock-full.txt $(ENV_SOURCES)
	@PYTHON="$(PYTHON)" sh scripts/venv.sh $(VENV_FULL) requirements/lock-full.txt
	@touch $@

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1#\2/p' $(MAKEFILE_LIST) | awk -F '#' '{ printf "%-18s %s\n", $$1, $$2 }'

.PHONY: demo
demo: $(VENV)/.ready ## Train, protect and audit small models; ends with the report's path (minutes)
	$(BIN)/membrane demo --out runs/demo

.PHONY: test
test: lint types ## Lint, types and the default test suite (minutes)
	$(BIN)/python -m pytest

.PHONY: test-full
test-full: $(VENV_FULL)/.ready ## Every test but the GPU ones, slow and extras included, in .venv-full (several GB)
	$(VENV_FULL)/bin/python -m pytest -m "not gpu"

.PHONY: lint
lint: $(VENV)/.ready ## ruff: rules and layout, changing nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: $(VENV)/.ready ## mypy --strict over src
	$(BIN)/mypy --strict src

.PHONY: format
format: $(VENV)/.ready ## ruff: mend what can be mended, lay out the rest
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: bench
bench: $(VENV)/.ready ## The CIFAR-10 benchmark behind results/ (hours; resumes where it stopped)
	$(BIN)/python benchmarks/pptp_cifar10.py

.PHONY: clean
clean: ## Remove environments, caches and build outputs; runs/ and results/ stay
	rm -rf $(VENV) $(VENV_FULL) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
