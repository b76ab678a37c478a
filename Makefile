# Every target makes .venv first where it needs one (launch/setup.sh); a finished one is reused.
# DEVICE=cpu|cuda and PYTHON=... choose the variant and the Python of .venv.
export DEVICE PYTHON

BIN := .venv/bin
# What deepspeed compiles at first use stays with the torch it was compiled against.
export TORCH_EXTENSIONS_DIR := $(CURDIR)/.venv/torch_extensions

# Threads that wait must not spin: in a test the engine and the trainer share the cores.
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help venv demo demo-memory test test-unit test-e2e test-all check format bench rehearse rehearse-128k rehearse-memory doctor lock clean

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 17

venv: ## Make .venv with everything pinned, or reuse it
	@launch/setup.sh

demo: venv ## Watch a small model learn to answer personalization questions (CPU, minutes)
	@launch/demo.sh

demo-memory: venv ## Watch it learn to keep a memory of the user instead (CPU, minutes)
	@launch/demo.sh memory

# A file of tests per process: most of the time goes into commands that use one core each. In the order of their names,
# so that the longest files (e2e) come first and a core is not left with one of them at the end.
# A process that dies ends the run and names its test; xdist would start another one, and then wait for ever.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --max-worker-restart 0 \
	--dist loadfile --no-loadscope-reorder

test: check ## Checks and tests (2 cores: ten minutes)
	$(PYTEST) -m "not slow"

test-unit: venv ## Those that start no program (tests/unit, tests/invariant, tests/golden)
	$(PYTEST) -m "not slow" tests/unit tests/invariant tests/golden

test-e2e: venv ## Those that start whole programs
	$(PYTEST) -m "not slow" tests/e2e

test-all: check ## The slow tests too (2 cores: a quarter of an hour)
	$(PYTEST)

check: venv ## Linter, formatter, type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: venv ## Let ruff fix and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv ## Every number the README quotes
	@found=; for file in bench/*.py; do [ -e "$$file" ] || continue; found=1; \
		echo "== $$file"; $(BIN)/python "$$file" || exit 1; done; \
		[ -n "$$found" ] || echo "bench/ is empty: nothing to measure yet"

rehearse: venv ## The 32k recipe's batch at its true length with a tiny model (2 cores, a quarter of an hour)
	$(BIN)/python bench/rehearse.py

rehearse-128k: venv ## The same for the 128k recipe (2 cores, over an hour)
	$(BIN)/python bench/rehearse.py --recipe qwen3_4b_128k

rehearse-memory: venv ## The same for the memory recipe (2 cores, minutes)
	$(BIN)/python bench/rehearse.py --recipe qwen3_4b_memory

doctor: venv ## Look at this machine before a run; CONFIG=configs/qwen3_4b.yaml
	$(BIN)/python rft/doctor.py $(CONFIG)

lock: venv ## Resolve requirements/*.in into the locks again
	$(BIN)/python -m pip install --quiet -r requirements/uv.txt
	requirements/lock.sh

clean: ## Remove .venv and every cache; runs under checkpoints/ stay
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build dist bench/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
