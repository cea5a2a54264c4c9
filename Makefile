# Every target does its own set-up: `make demo` and `make test` are all that a newcomer needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3.11## Python 3.11 that makes the virtual environment
TORCH_INDEX ?=## further package index, as https://download.pytorch.org/whl/cpu for the small CPU build of torch
PYTEST_ARGS ?=## further arguments of pytest
BENCH_ARGS ?=## which benchmarks, as prepare; all by default. Of bench-distillation: its options, as --seeds 8
BENCH_SMALL ?=## 1: the short form of benchmarks that have one
DEMO_ARGS ?=## further arguments of `picofleet demo`, as --samples 2000
UP_ARGS ?=## further arguments of `picofleet up`, as --data-root /data
SOAK_SECONDS ?= 600## how long the inference service is kept at full load
FUZZ_SECONDS ?= 600## how long the readers of packages and rpk files are fuzzed
TOOLCHAIN_ARGS ?=## further arguments of `picofleet toolchain install`
NAME ?=## what a new migration changes
SERVICE ?= jobs## whose database a new migration is for

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# Tests wait for other processes much of the time, so a third one helps on two cores. A file stays together: its servers are
# started once. Tests that promise seconds come last and alone; pytest ends with 5 where PYTEST_ARGS chose none of them.
PYTEST := $(BIN)/python -m pytest
BESIDE := --numprocesses 3 --dist loadfile --no-loadscope-reorder
SOURCES := shared services workers infra
EXTRAS := services,serving,openvino,signing,workers,embedded,dev

bench: export BENCH_SMALL ?=
fuzz: export FUZZ_SECONDS := $(FUZZ_SECONDS)
soak: export SOAK_SECONDS := $(SOAK_SECONDS)
demo up down status: export PICOFLEET_HOME ?= $(CURDIR)/.picofleet
demo up toolchain test test-services: export PICOFLEET_TOOLCHAIN ?= $(CURDIR)/.picofleet/toolchain

.PHONY: help
help: ## list the targets and variables
	@echo "Targets:"
	@grep -hE '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{ printf "  %-15s %s\n", $$1, $$2 }'
	@echo "Variables (make demo KEEP=1):"
	@grep -hE '^[A-Z_]+ \?=.*## ' $(MAKEFILE_LIST) | sed -E 's/ \?=[^#]*## /\t/' | awk -F '\t' '{ printf "  %-15s %s\n", $$1, $$2 }'
	@printf '  %-15s %s\n' KEEP '1: the demo leaves the platform up' PICOFLEET_DATA 'folder of real images, in COCO layout' \
		PICOFLEET_HOME "where the platform keeps its data; here: .picofleet"

.PHONY: venv install
venv install: $(STAMP) ## make .venv with exactly the versions of constraints.txt

# torch first and no isolation: sam2 is built from source and asks for torch to build with, of which pip would otherwise fetch a
# second one, the largest there is. Its CUDA extension (small holes in masks of videos) is not used, so it is not compiled.
$(STAMP): pyproject.toml constraints.txt
	@command -v '$(PYTHON)' > /dev/null || { echo "$(PYTHON) was not found. Install Python 3.11, or: make PYTHON=/path/to/python3.11"; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "$(PYTHON) is not Python 3.11."; exit 1; }
	@test -x $(BIN)/python || '$(PYTHON)' -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment: on Debian, install python3.11-venv."; exit 1; }
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	@$(INSTALL) setuptools torch
	@SAM2_BUILD_CUDA=0 $(INSTALL) --no-build-isolation --editable '.[$(EXTRAS)]'
	@$(PIP) check --quiet || $(PIP) check
	@touch $@

.PHONY: demo
demo: $(STAMP) ## train, distil, evaluate, quantize and package on real or generated images, as one pipeline (KEEP=1: leave it up)
	@$(BIN)/picofleet demo $(DEMO_ARGS)

.PHONY: up down status
up: $(STAMP) ## start the platform on this machine
	@$(BIN)/picofleet up $(UP_ARGS)
down: $(STAMP) ## stop it
	@$(BIN)/picofleet down
status: $(STAMP) ## show how it is doing
	@$(BIN)/picofleet status

.PHONY: toolchain
toolchain: $(STAMP) ## install Sony's IMX500 converter, which packaging needs (TOOLCHAIN_ARGS=--accept-licence)
	@$(BIN)/picofleet toolchain install $(TOOLCHAIN_ARGS)

.PHONY: test test-services
test: $(STAMP) ## all tests that need neither root nor installed services
	infra/ci/isolated $(PYTEST) $(BESIDE) -m 'not services and not timed' $(PYTEST_ARGS)
	infra/ci/isolated $(PYTEST) -m timed $(PYTEST_ARGS) || [ $$? = 5 ]

test-services: $(STAMP) ## the tests that use a database, on Postgres, and those that need further services; as root it installs what is missing
	@infra/ci/install-services
	PICOFLEET_TEST_DATABASE=postgres infra/ci/isolated $(PYTEST) $(BESIDE) -m 'services or database' $(PYTEST_ARGS)

.PHONY: lint format
lint: $(STAMP) ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench bench-distillation
bench: $(STAMP) ## tables of speed and memory, with the plain way beside ours
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

bench-distillation: $(STAMP) ## does a teacher help? takes hours, goes on where it was (BENCH_ARGS=--help)
	@$(BIN)/python -m tests.bench.bench_gain $(BENCH_ARGS)

.PHONY: soak
soak: $(STAMP) ## the inference service at full load with a hot swap every 20 s: no request may fail, no memory leak (10 minutes)
	@$(BIN)/python -m tests.bench.soak

.PHONY: fuzz
fuzz: $(STAMP) ## random changes to packages and rpk files: their readers must not crash, hang or grow (10 minutes)
	@$(BIN)/python -m tests.fuzz

.PHONY: mutants
mutants: $(STAMP) ## take the mechanisms against faults out one by one, and see the fault tests fail
	@$(BIN)/python -m tests.mutants

.PHONY: migration constraints toolchain-pins
migration: $(STAMP) ## a new database revision (NAME="what changes" SERVICE=jobs)
	@test -n '$(NAME)' || { echo 'Say what changes: make migration NAME="jobs get a deadline"'; exit 1; }
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	export PICOFLEET_JOBS_DATABASE_URL="sqlite:///$$folder/jobs.db" PICOFLEET_JOBS_BLOB_URL="$$folder"; \
	export PICOFLEET_INFERENCE_DATABASE_URL="sqlite:///$$folder/inference.db" PICOFLEET_INFERENCE_CACHE_DIR="$$folder" PICOFLEET_INFERENCE_FEEDBACK_URL="$$folder"; \
	export PICOFLEET_FLEET_DATABASE_URL="sqlite:///$$folder/fleet.db" PICOFLEET_FLEET_BLOB_URL="$$folder"; \
	$(BIN)/python -m services.$(SERVICE) migrate && $(BIN)/python -m services.$(SERVICE).migrate '$(NAME)'

constraints: ## resolve pyproject.toml anew and write the exact versions into constraints.txt
	@test -x $(BIN)/python || '$(PYTHON)' -m venv $(VENV)
	@$(BIN)/python -m infra.constraints

toolchain-pins: $(STAMP) ## resolve what the IMX500 converter needs and write the exact versions
	@$(BIN)/python -m infra.toolchain_pins

.PHONY: clean
clean: ## stop the platform and remove .venv, .picofleet and caches
	@if [ -d .picofleet ] && [ -x $(BIN)/picofleet ]; then PICOFLEET_HOME='$(CURDIR)/.picofleet' $(BIN)/picofleet down; fi
	rm -rf $(VENV) .picofleet .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .fuzz *.egg-info
	find $(SOURCES) tests -type d -name __pycache__ -prune -exec rm -rf {} +
