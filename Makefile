# make demo    environment, install, and the main job on simulated recordings
# make test    environment, install, and the whole test suite
# make check   format, lint, types, imports, then the tests: what to run before a commit
# make fix     let ruff mend what it can
# make bench   speed and memory;   make docs: the tests of the documentation alone
# make clean   remove the environment and caches (never a store or a run)
#
# PYTHON=python3.12 chooses the interpreter, VENV=dir the environment,
# TORCH="torch==2.13.0 --extra-index-url ..." the build of torch (default: CPU, unless an NVIDIA GPU answers).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test check fix lint bench docs clean

# The CPU wheel index that PyTorch's own installation page gives.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_PIN := $(shell grep '^torch==' constraints/ci.txt)
GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo yes)
TORCH ?= $(TORCH_PIN) $(if $(GPU),,--extra-index-url $(TORCH_INDEX))

PYTHON ?= $(firstword $(foreach name,python3 python python3.13 python3.12 python3.11,\
  $(shell $(name) -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 11)' 2>/dev/null && echo $(name))) python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
JOBS ?= 2
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

demo: $(VENV)/.all
	$(BIN)/neurofm demo $(DEMO)

test: $(VENV)/.dev
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadscope $(PYTEST)

check: lint
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadscope -m "not tool" $(PYTEST)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(ONE_THREAD) $(BIN)/python -m pytest tests/docs $(PYTEST)

bench: $(VENV)/.all
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

clean:
	test ! -e $(VENV)/pyvenv.cfg || rm -rf $(VENV)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name '*.egg-info' -prune -exec rm -rf {} + -o -name __pycache__ -prune -exec rm -rf {} +

# The first try gives up quickly on an index that does not answer; if that leaves no torch, pip's own patience.
$(VENV)/.torch: constraints/ci.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
	  "neurofm needs Python 3.11 or newer; '$(PYTHON)' is missing or older. Name another: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo \
	  "'$(PYTHON)' cannot make environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --retries 0 --timeout 5 $(TORCH) || $(PIP) install $(TORCH)
	grep -v '^torch==' constraints/ci.txt > $(VENV)/constraints.txt
	$(BIN)/python -c 'from importlib.metadata import version as v; print("torch==" + v("torch"))' >> $(VENV)/constraints.txt
	touch $@

$(VENV)/.all: $(VENV)/.torch pyproject.toml
	$(PIP) install -q -c $(VENV)/constraints.txt -e ".[all]"
	touch $@

# The peers compare our numbers and files with theirs. They pin torch, or pull in ray, so they come
# without their dependencies; where they cannot be had, their tests skip and say so.
$(VENV)/.dev: $(VENV)/.torch pyproject.toml constraints/test-peers.txt
	$(PIP) install -q -c $(VENV)/constraints.txt -e ".[dev]"
	$(PIP) install -q --no-deps -r constraints/test-peers.txt || echo "Without the peers, their comparisons are skipped." >&2
	touch $@
