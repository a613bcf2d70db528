# Two commands: `make run` and `make test`. Both set everything up first.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
# Test processes side by side; each test trains on one thread.
JOBS ?= 2

.PHONY: help run test test-slow test-data test-gpu test-kill test-soak test-oldest test-newest test-ray docs viz check lint types contracts dvc licences audit fix install repro ui bench bench-gpu bench-large clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /|/' | column -t -s '|'

run: $(READY)  ## repair the bundled digits (40 % symmetric noise), end to end
	@kedro run

test: $(READY)  ## the quick tests, JOBS=2 processes
	@pytest -n $(JOBS) --dist loadfile

test-slow: $(READY)  ## the tests that take minutes
	@pytest -m "slow and not data"

test-data: $(READY)  ## the tests on public data sets; LABELREPAIR_DATA=folder
	@pytest -m data

test-kill: $(READY)  ## kill runs at 100 moments (KILLS=n) and run them again
	@LABELREPAIR_KILLS=$(or $(KILLS),100) pytest -m slow tests/pipelines/test_kill.py tests/pipelines/test_kill_anywhere.py

test-soak: $(READY)  ## 200 runs (RUNS=n) in one process: memory, open files
	@LABELREPAIR_SOAK=$(or $(RUNS),200) pytest -m slow tests/pipelines/test_soak.py -o log_cli=true -o log_cli_level=INFO

# Own environments, removed afterwards. The slow ones of `make test` stay out.
BASIC := tests/unit tests/contract tests/pipelines/test_end_to_end.py

test-oldest:  ## the unit, contract and end-to-end tests on the oldest versions that pyproject admits
	@tools/test_versions.sh oldest $(BASIC)

test-newest:  ## the same on the newest versions that pip finds now
	@tools/test_versions.sh newest $(BASIC)

test-gpu: $(READY)  ## the tests that need CUDA
	@pytest -m gpu

test-ray: $(READY)  ## the tests that start a local Ray cluster; installs the extra (80 MB)
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[ray]'
	@pytest -m ray tests/ray

viz: $(READY)  ## the graph and its products in Kedro-Viz
	@kedro viz run

docs: $(READY)  ## the documentation site in build/site; MNIST's walk-through runs if LABELREPAIR_DATA is set
	@sphinx-build -q -W --keep-going -b html docs build/site
	@echo "open build/site/index.html"

check: lint types contracts dvc test  ## everything that CI could ask for

lint: $(READY)  ## style
	@ruff format --check src tests benchmarks tools
	@ruff check src tests benchmarks tools

types: $(READY)  ## mypy --strict
	@mypy

contracts: $(READY)  ## who may import whom
	@lint-imports

dvc: $(READY)  ## is dvc.yaml what the Kedro graph wants? (write it: kedro dvc write)
	@kedro dvc write --check

licences: $(READY)  ## write docs/licences.md, the licences of all dependencies
	@python tools/licences.py

audit:  ## look the pinned versions up in the advisory database (needs the network)
	@pipx run pip-audit --requirement constraints.txt --no-deps --disable-pip

fix: $(READY)  ## format and repair style
	@ruff check --fix-only src tests benchmarks tools
	@ruff format src tests benchmarks tools

install: $(READY)  ## set up only

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, found '$(PYTHON)'; name one: make run PYTHON=/path/to/python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 6 GB; some minutes the first time)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[cleanlab,dev,docs,dvc,kedro,mlflow,plots,viz]'
	@touch $(READY)

repro: $(READY)  ## the same run by DVC, stage by stage
	@dvc repro

bench: $(READY)  ## speed and memory (minutes); on MNIST if LABELREPAIR_DATA is set, the authors' script with JOCOR=checkout
	@python benchmarks/start.py
	@python benchmarks/methods.py
	@python benchmarks/networks.py
	@python benchmarks/replicas.py
	@python benchmarks/label_table.py
	@test -n "$(LABELREPAIR_DATA)" || echo "LABELREPAIR_DATA names no folder with MNIST: random pictures and the digits instead"
	@python benchmarks/whole_run.py $(if $(LABELREPAIR_DATA),--data-root "$(LABELREPAIR_DATA)")
	@python benchmarks/floor.py $(if $(LABELREPAIR_DATA),--data-root "$(LABELREPAIR_DATA)") $(if $(JOCOR),--script "$(JOCOR)")

bench-gpu: $(READY)  ## the same questions on a GPU (minutes); the authors' script with JOCOR=checkout
	@python benchmarks/networks.py --device cuda --networks lenet cnn7 resnet34 --batches 128 512 \
		--precisions float32 bfloat16 --rows 51200
	@python benchmarks/replicas.py --device cuda
	@python benchmarks/floor.py --recipe cifar10 --device cuda --precision bfloat16 \
		$(if $(JOCOR),--script "$(JOCOR)" --workers 8)

bench-large: $(READY)  ## a set larger than the memory; LARGE=folder with 35 GB, ROWS="25000 200000" for others
	@test -n "$(LARGE)" || { echo "LARGE=folder: where 200,000 images and their shards may go (35 GB)"; exit 1; }
	@python benchmarks/large_set.py --folder "$(LARGE)" $(if $(ROWS),--rows $(ROWS))

ui: $(READY)  ## look at the runs in MLflow
	@mlflow ui --backend-store-uri sqlite:///mlflow.db

KEPT = .gitkeep *.dvc human_decisions.csv label_ledger.parquet review.csv
clean:  ## remove what runs can write again; your data, decisions, the ledger, MLflow's runs and the environment stay
	@find data/0[2-9]* -type f $(foreach name,$(KEPT),! -name '$(name)') -delete
