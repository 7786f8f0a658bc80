# `make demo` shows what stockqueue does, `make test` tests it; both set up all that they need.

BIN := .venv/bin
MANAGE := $(BIN)/python manage.py
PORT ?= 8000

.PHONY: help demo run test test-days test-long check bench screenshots servers fixtures schema lock clean

help:
	@echo "make demo      a login turns into fresh prices and MQTT events; ends by itself"
	@echo "make run       the whole system on http://127.0.0.1:$(PORT) until Ctrl-C (PORT=... chooses another)"
	@echo "make test      every test, on SQLite and on PostgreSQL"
	@echo "make test-days the tests as if it were a weekend, a holiday, a day when clocks change, the turn of the year"
	@echo "make test-long the faults that take minutes, with the time limits of production"
	@echo "make check     style, types, import contracts, migrations, production settings"
	@echo "make bench     every benchmark"
	@echo "make screenshots  the README's pictures again"
	@echo "make lock      resolve requirements*.in into pinned requirements*.txt"
	@echo "make schema    write job_processor.schema.json again; make fixtures: the demo data"
	@echo "make clean     remove .venv, var and caches"

demo: .venv/run
	@$(MANAGE) demo

run: .venv/run
	@$(MANAGE) run --port $(PORT)

# Both passes at once: most tests wait for processes, and neither pass shares anything with the other.
test: .venv/dev servers
	@mkdir -p var; $(BIN)/python -m pytest --database=postgresql >var/test-postgresql.log 2>&1 & postgresql=$$!; \
	$(BIN)/python -m pytest; sqlite=$$?; \
	wait $$postgresql; code=$$?; cat var/test-postgresql.log; exit $$((sqlite | code))

test-days: .venv/dev servers
	$(BIN)/python -m tests.days

test-long: .venv/dev servers
	$(BIN)/python -m pytest -m long
	$(BIN)/python -m pytest -m long --database=postgresql

check: .venv/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports
	@$(MANAGE) makemigrations --check --dry-run
	@STOCKQUEUE_ENV=production DJANGO_ALLOWED_HOSTS=stockqueue.example \
	    DJANGO_SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))') \
	    $(MANAGE) check --deploy --fail-level WARNING

bench: .venv/dev servers
	$(BIN)/python -m benchmarks

screenshots: .venv/dev servers
	@$(BIN)/python -m docs.screenshots

servers:
	@sh setup/servers.sh

fixtures: .venv/run
	$(MANAGE) shell -v0 -c "from fixtures.generate import main; main()"

schema: .venv/run
	$(BIN)/python -m stockqueue.config > job_processor.schema.json

lock: .venv/dev
	$(BIN)/pip install -q pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile -q --strip-extras --no-emit-index-url \
	    --no-emit-find-links --no-emit-trusted-host -o requirements.txt requirements.in
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile -q --strip-extras --no-emit-index-url \
	    --no-emit-find-links --no-emit-trusted-host -o requirements-dev.txt requirements-dev.in

clean:
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@sh setup/python.sh

.venv/run: requirements.txt | .venv/bin/python
	@echo "Installing packages into .venv ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt .venv/run
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $@
