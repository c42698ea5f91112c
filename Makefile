# `make demo` and `make test` work from a bare clone: each first builds .venv/ from the lock files, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
TORCH := torch==2.13.0
# CPU builds of torch lack what these ask for, and run them all the same: see nasc/models/torchvision.py.
ZOO := torchvision==0.28.0 timm==1.0.31
export OMP_NUM_THREADS ?= 1
SIZE ?= small
# Every script of benchmarks/ that runs a study, but not what studies share.
STUDIES := $(shell grep -l "^    .*parse_arguments." benchmarks/*.py)

.PHONY: help demo test check docs bench reference lock clean
help:
	@echo "make demo   all of nasc on embedded data, in minutes: ends with a measured model and a page"
	@echo "make test   everything a change must pass: format, lint, layers, types, tests, docs"
	@echo "make docs   the documentation site, in site/"
	@echo "make bench  what we claim, measured again (hours; SIZE=tiny for minutes, SIZE=full for a GPU)"
	@echo "make results  the tables of what benchmarks/results/ holds, nothing is run"
	@echo "make reference  docs/cli.md, from the program's own help"
	@echo "make lock   write the lock files from what is installed in .venv"
	@echo "make clean  remove what make built"

demo: $(VENV)/.runtime
	$(BIN)/nasc demo

test: $(VENV)/.dev | chromium
	NASC_ENVIRONMENT_BUILT=yes .ci/run

check: $(VENV)/.dev
	NASC_ENVIRONMENT_BUILT=yes .ci/run --no-tests

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.dev
	for study in $(STUDIES); do $(BIN)/python $$study --size $(SIZE) || exit 1; done

.PHONY: results
results: $(VENV)/.dev
	@for study in $(STUDIES); do echo "== $$study"; $(BIN)/python $$study --size $(SIZE) --report; done

reference: $(VENV)/.dev
	$(BIN)/python .ci/reference.py

lock: $(VENV)/.dev
	$(BIN)/python .ci/lock.py

# torch comes first, so that whatever build of it this machine offers is the one that the rest is fitted to.
$(VENV)/.runtime: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(PIP) -r requirements.lock -r requirements-dev.lock
	$(PIP) --no-deps $(ZOO)
	touch $@

# The dashboard's tests run in a real browser; without one they are skipped, and say so.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get install -y -qq chromium >/dev/null 2>&1 || (apt-get update -qq && apt-get install -y -qq chromium >/dev/null 2>&1) || \
	    echo "chromium could not be installed: the browser tests will be skipped"; \
	  else echo "no Chromium here, and no right to install it: the browser tests will be skipped"; fi

clean:
	rm -rf $(VENV) site build dist
