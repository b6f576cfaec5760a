# make demo: the main job on embedded data. make test: every check. make soak: the long simulations. make bench: speed beside
# peers. All set up .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two torch threads at most, and none of Prefect's or the tokenizer's calls home.
export OMP_NUM_THREADS ?= 2
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export TOKENIZERS_PARALLELISM ?= false

.PHONY: setup demo test soak bench lint audit clean

setup: $(STAMP)

# torch is asked for first and exactly: any looser request takes a build with several GB of CUDA packages on Linux.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "curate needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/curate demo --out demo --overwrite

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A file's tests stay in one process; each process has one thread.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Some ten minutes on one core and the property tests on new examples; the simulation and the kills (half an hour), stopped,
# go on where they were.
soak: setup
	HYPOTHESIS_PROFILE=search $(BIN)/python -m pytest $$(grep -rl hypothesis tests --include='test_*.py')
	mkdir -p build
	$(BIN)/python benchmarks/verdict_simulation.py --kept build/verdict_simulation.json
	$(BIN)/python benchmarks/faults/kills.py --kept build/faults/kills.json

# Known vulnerabilities of what is pinned; it needs the network.
audit: setup
	$(BIN)/python .ci/audit

# Speed beside peers: an hour on two idle cores; stopped, it goes on where it was.
bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
