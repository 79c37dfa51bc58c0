# Everything that a checkout needs, by name. Bare `make` prints this list.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types floors clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python of the environment; made anew when the dependencies change.
READY := $(VENV)/.ready

help:  ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/:/' | column -t -s:

setup: $(READY)  ## make the environment in .venv, and install the local servers

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable . --group dev
	$(BIN)/python -m tests.servers.azure --install
	@touch $(READY)

demo: $(READY)  ## start four local servers, download from them, show the result
	$(BIN)/python -m tests.demo

test: $(READY)  ## run the tests against real local servers
	$(BIN)/python -m pytest

lint: $(READY) types floors  ## formatting, lint, types, floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY)  ## format, and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

floors: $(READY)  ## imports go down only
	$(BIN)/lint-imports --no-cache

clean:  ## remove everything that the targets made
	rm -rf $(VENV) .servers .demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
