# `make demo` and `make test` need Python 3.11 or newer and nothing else. The environment is made once, in .venv.

PYTHON ?= python3
BIN := .venv/bin
# badcrossbar's plotting needs system libraries that its solver, which the tests use, does not.
ORACLE := badcrossbar pathvalidate sigfig

.PHONY: demo test check clean

demo: .venv/installed
	mkdir -p demo
	$(BIN)/hwloop compare data/digits_mlp.safetensors --backend "sim:hermes-core?seed=1" \
		--methods iterative,gdp,exact --out demo/compare.h5 --plot demo/compare.png --force

test: .venv/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy hwloop
	$(BIN)/lint-imports

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test]"
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps $(ORACLE)
	touch $@

clean:
	rm -rf .venv demo build dist
