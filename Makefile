# Two commands do everything on a fresh machine with Python 3.11 or newer: `make run` and `make test`.

PYTHON ?= python3
VENV   ?= .venv
CONFIG ?= configs/quickstart.yaml
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: run test lint bench ui help clean

run: $(VENV)/.installed ## Build a model from real text, then say where it is
	$(BIN)/groundup run $(CONFIG)

test: lint ## Lint, types, layering, then every test
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

lint: $(VENV)/.installed-dev ## Style, types and layering only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev ## Print the published numbers (parts by name: make bench PART=quickstart)
	$(BIN)/python -m benchmarks $(PART)

ui: $(VENV)/.installed ## Prefect's and MLflow's pages over the workspace, on localhost
	$(BIN)/groundup ui

help: ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

clean: ## Remove the environment (the workspace with your models stays)
	rm -rf $(VENV)

# The pins of constraints.txt are the versions that the tests ran with.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("groundup needs Python 3.11 or newer, this is %s. Try: make run PYTHON=python3.12" % sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes, once)"
	@$(PIP) install --quiet --editable . --constraint constraints.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the test tools into $(VENV)"
	@$(PIP) install --quiet --editable '.[dev,postgres]' --constraint constraints.txt
	@touch $@
