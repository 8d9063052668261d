# make demo   set everything up, answer a sample photo with every ready operation, and stop
# make serve  the server at 127.0.0.1:8000 (make serve ARGS="--port 9000")
# make test   every check and every test
# make check  format, lint, types, import rule
# make docs   write the parts of the README and of docs/ that are generated from the code
# make pins   compile requirements.txt anew from pyproject.toml
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV := $(BIN)/uv
ARGS ?=

.PHONY: setup demo serve test check tests docs pins clean

setup: $(INSTALLED)

# Only a change of the pins or of the package's own declaration installs anything again.
$(INSTALLED): requirements.txt requirements-uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Sightgraph needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
	  || { echo "$(PYTHON) lacks its venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import pathlib, shutil, sys, sysconfig; \
	    headers = pathlib.Path(sysconfig.get_path("include"), "Python.h"); \
	    sys.exit(not headers.exists() or not any(map(shutil.which, ("c++", "g++", "clang++"))))' \
	  || { echo "A C++ compiler and Python's headers are needed; on Debian and Ubuntu: apt-get install g++ python3-dev"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements-uv.txt requirements.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/python scripts/demo.py $(ARGS)

serve: $(INSTALLED)
	@$(BIN)/sightgraph serve $(ARGS)

check: $(INSTALLED)
	@scripts/check

test: $(INSTALLED)
	@# At once: where mypy has nothing cached, it takes one core for a minute and more.
	@$(MAKE) --no-print-directory --jobs=2 check tests

tests: $(INSTALLED)
	@# A file stays in one process, whose models load once; tests/conftest.py says which come first. Bytecode
	@# is kept, whatever the environment says of it: dozens of processes import the same.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile \
	  --no-loadscope-reorder $(ARGS)

docs: $(INSTALLED)
	@$(BIN)/python -m scripts.docs

pins: $(INSTALLED)
	$(UV) pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make pins" --output-file requirements.txt
	echo "uv" | $(UV) pip compile --quiet - --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make pins" --output-file requirements-uv.txt

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
