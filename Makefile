# Two commands matter: `make serve` and `make test`. Each sets up all it needs.
.PHONY: serve test check soak format bench doctor clean

serve:
	@scripts/setup serve
	@exec .venv/bin/tritonplane serve $(ARGS)

test: check
	@scripts/test $(ARGS)

# What must be green on every commit, without starting a server.
check:
	@scripts/setup test
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

# Kills and cancels imports at many moments; SOAK_KILLS, SOAK_CANCELS and SOAK_SEED say how many and which.
# Kills a server of jobs more often than `make test` does.
# Compares a model with a copy of itself SOAK_AA times, to see that no speedup is claimed.
# Runs each of the twelve optimization levels on two models, with SOAK_LEVEL_S seconds for each run to try candidates.
soak:
	@scripts/setup test
	@.venv/bin/python -m pytest -m soak --log-cli-level=INFO $(ARGS)

format:
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

doctor:
	@scripts/setup serve
	@.venv/bin/tritonplane doctor $(ARGS)

bench:
	@scripts/setup test
	@.venv/bin/python benchmarks/rest_vs_triton.py $(ARGS)

clean:
	@rm -rf .venv .venv-convert .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
