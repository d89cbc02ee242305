# `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long check bench screenshots repro study mlflow lock
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --python-version 3.11 --no-annotate \
	--custom-compile-command 'make lock'

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make the environment .venv from the lock (make setup PYTHON=… names a Python 3.11)
	@scripts/setup

demo: setup ## a year of electricity from the broker to the dashboard, live; Ctrl-C ends it
	@METERWATCH_RUN_DIR=$${METERWATCH_RUN_DIR:-data/demo} $(BIN)/meterwatch demo

test: setup check ## everything that takes less than 15 minutes, on the real broker, Spark, service and browser
	$(BIN)/python -m pytest -m 'not long'

test-long: setup ## the proofs that take longer
	$(BIN)/python -m pytest -m long --timeout 3600

check: setup ## lint, format, types and the import contract; changes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

repro: setup ## data to registered model: dvc repro, with the shipped year
	$(BIN)/dvc repro

study: setup ## the long comparison, after repro: public detectors, ablations, seeds; about half an hour
	$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python -r requirements-study.lock
	$(BIN)/python -m training.study

mlflow: setup ## open the MLflow UI on http://127.0.0.1:5000/#/experiments/1?workflowType=machine_learning
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1 --port 5000

bench: setup ## the benchmarks but study and recall, into benchmarks/results, and docs/proof.md from all results
	@for name in detector drift stream many_meters service starting dashboard repro kill_storm proof; do \
		echo "== $$name"; $(BIN)/python -m "benchmarks.$$name" || exit 1; \
	done

screenshots: setup ## pictures of every page from real readings, into docs/screenshots; after repro
	$(BIN)/python -m tests.screenshots

lock: setup ## resolve the locks again from pyproject.toml; versions stay where they can (rm requirements.lock: newest)
	$(LOCK) pyproject.toml --all-extras --output-file requirements.lock
	$(LOCK) pyproject.toml --extra serve --constraints requirements.lock --output-file requirements-serve.lock
	$(LOCK) --group study --constraints requirements.lock --output-file requirements-study.lock
	printf 'uv==%s\nsetuptools\nwheel\n' "$$($(BIN)/uv --version | cut -d ' ' -f 2)" | \
		$(LOCK) - --constraints requirements.lock --output-file requirements-setup.lock
	$(BIN)/python -m streaming.jars
