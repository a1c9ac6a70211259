# Two commands do everything, set-up included: `make run` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin

# `make gpu` uses what is installed where there is no .venv.
DEVICE ?= cuda

.PHONY: run test test-long lint gpu setup clean

run: setup  ## the default suite on the embedded model: table, plots, pictures and report under results/algos
	$(BIN)/ddpo-bench run suites/algos.yaml

test: setup  ## all tests except the long ones, in about ten minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal -m "not long"

test-long: setup  ## the long ones: compilation for four GPUs, killed workers, crash points, databases, a browser
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal -m long

lint: setup  ## linter, formatter and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

gpu:  ## prove promises and speed on a GPU, in parts: make gpu PARTS=a,b; without a GPU: make gpu DEVICE=cpu
	$(if $(wildcard .venv/ready),$(BIN)/python,python3) -m benchmarks.gpu $(if $(PARTS),--parts $(PARTS)) --device $(DEVICE)

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,wandb,tensorboard]'
	touch $@

clean:  ## remove the virtual environment
	rm -rf .venv
