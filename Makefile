# Two commands matter: `make demo` runs the main job, `make test` passes the whole gate.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: build
build: $(VENV)/.installed ## virtual environment, compiled extension, this package in editable form
	source $(BIN)/activate; maturin develop --release --locked --quiet

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "maturin>=1.9,<2"
	source $(BIN)/activate; maturin develop --release --locked --quiet --extras dev,envs
	touch $@
