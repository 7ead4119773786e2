# `make` lists what there is.
.PHONY: help setup demo test lint format chaos fuzz bench lock clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup:  ## Install what is missing (Debian packages by sudo where not root; Python packages in .venv)
	@tools/setup.sh

demo: setup  ## Start a cluster, run the example shop in it, show it being reached, and remove it again
	@.venv/bin/python examples/demo.py

test: setup  ## Run all tests
	@.venv/bin/python tools/test.py

lint: setup  ## Check style, types and the floors of the architecture
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

format: setup  ## Format the code
	@.venv/bin/ruff format .

chaos: setup  ## Break a cluster at random for ten minutes and see it all come back
	@CHAOS_SECONDS=600 .venv/bin/python -m pytest -q tests/chaos

fuzz: setup  ## Feed the readers of DNS messages and Corefiles for ten minutes, led by the coverage reached
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	@for target in query reply name corefile; do .venv/bin/python tools/fuzz.py $$target 150 || exit 1; done

bench: setup  ## Measure; JSON lines on standard output
	@.venv/bin/python -m bench

lock:  ## Pin the newest allowed versions again (needs uv)
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		pyproject.toml -o requirements/run.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		-c requirements/run.txt --extra dev pyproject.toml -o requirements/dev.txt
	printf "atheris==3.0.0; python_version < '3.12'\natheris>=3.1; python_version >= '3.12'\n" | uv pip compile -q --upgrade \
		--universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url - -o requirements/fuzz.txt

clean:  ## Remove what make made here
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
