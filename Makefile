# The set-up is part of every target: each makes .venv if it is not there, and none needs another first.
PYTHON ?= python3
BIN := .venv/bin
DEMO := build/demo
ASSETS := pipeline/demo/assets
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Two processes, whatever the machine: each takes some 2.5 GB. tests/conftest.py says which tests stay together.
PYTEST := $(BIN)/python -m pytest -n 2

.PHONY: help demo test test-slow test-faults bench lint decoders clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/installed ## set up, then transcribe the bundled corpus, with the language model and without
	$(BIN)/nightshift demo $(DEMO)
	@echo && echo "One file alone:"
	$(BIN)/nightshift transcribe $(ASSETS)/corpus/manifest/audio/115.mp3 --model $(ASSETS)/model --lm $(ASSETS)/lm/4gram.bin
	@$(BIN)/python -c "import kenlm" 2>/dev/null || \
		echo "Not installed: kenlm, which this demo does not need; 'make decoders' builds it with a C++ compiler."

test: .venv/installed-dev ## set up, then run the tests, about nine minutes
	$(PYTEST) -m "not slow"

test-slow: .venv/installed-dev ## the tests that take longer still
	$(PYTEST) -m "slow and not faults"

test-faults: .venv/installed-dev ## a night in which everything goes wrong, the long version
	$(PYTEST) -m faults

bench: .venv/installed-dev ## a whole run, and each of its stages beside what others have for it
	$(BIN)/nightshift bench run
	$(BIN)/nightshift bench read
	$(BIN)/nightshift bench encode
	$(BIN)/nightshift bench decode
	$(BIN)/nightshift bench score

lint: .venv/installed-dev ## ruff and the type checker
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

decoders: .venv/installed ## install kenlm, pyctcdecode and flashlight-text, decoders that nothing depends on
	@# pyctcdecode without its own pins: its numpy<2 is not meant, and breaks pandas 3 and pyarrow 26.
	@$(BIN)/pip install --quiet --no-deps "pyctcdecode==0.5.0" pygtrie && echo "pyctcdecode is installed"
	@$(BIN)/pip install --quiet "kenlm>=0.3" >build.log 2>&1 && echo "kenlm is installed" && rm build.log || \
		echo "kenlm is not: building it needs a C++ compiler and CMake (see build.log). All else works without it."
	@$(BIN)/pip install --quiet --only-binary :all: "flashlight-text>=0.0.7" 2>/dev/null && \
		echo "flashlight-text is installed" || echo "flashlight-text is not: it has no wheel for this Python or system."

clean: ## remove .venv and what the targets made
	rm -rf .venv build *.egg-info build.log

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch .venv/installed
	@$(MAKE) --no-print-directory decoders
	@touch $@
