# `make demo` and `make test` need Python 3.11 or newer and nothing else. The environment is made once, in .venv, of
# exactly the versions in constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
# badcrossbar's plotting needs system libraries that its solver, which the tests use, does not.
ORACLE := badcrossbar pathvalidate sigfig

.PHONY: demo test check docs kernels figures lock clean

demo: .venv/installed
	mkdir -p demo
	$(BIN)/hwloop compare data/digits_mlp.safetensors --backend "sim:hermes-core?seed=1" \
		--methods iterative,gdp,exact --out demo/compare.h5 --plot demo/compare.png --force

# Many tests start processes: what one has compiled the next ones find, whatever the environment says of that.
test: .venv/installed-test
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy hwloop benchmarks
	$(BIN)/lint-imports

# The site in build/site, with its tutorials run, and every link within it looked at; a warning is an error.
docs: .venv/installed-docs
	$(BIN)/python -m sphinx -q -j auto -W --keep-going -c docs/_site -d build/doctrees docs build/site
	$(BIN)/python benchmarks/site.py build/site

# The numerical tests under each kind of CPU kernels that this machine has: no result may hang on the last bits.
kernels: .venv/installed-test
	.ci/kernels $(BIN)/python

# Figures and tables that README.md and docs/ show, written by what they describe.
figures: .venv/installed
	$(BIN)/python benchmarks/figures.py

# constraints.txt anew, from the ranges in pyproject.toml and the pins in .ci/requirements.in.
lock: .venv/installed
	$(PIP) uv
	$(BIN)/uv pip compile pyproject.toml .ci/requirements.in --all-extras --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" --output-file constraints.txt \
		$(shell sed -n 's/^# leave out: /--no-emit-package /p' .ci/requirements.in)

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/installed-test: .venv/installed
	$(PIP) -e ".[test]"
	$(PIP) --no-deps $(ORACLE)
	touch $@

.venv/installed-docs: .venv/installed
	$(PIP) -e ".[docs]"
	touch $@

clean:
	rm -rf .venv demo build dist
