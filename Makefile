# `make demo` and `make test` set up everything they need in .venv; nothing is installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo serve test test-browser test-floor lint format clean train eval-watch evaluate evals bench bench-registry bench-peers

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@

demo: $(READY) ## four scripted conversations through a real agent: offline, no key
	$(BIN)/end-conversation demo

PORT := 2024

serve: $(READY) ## a LangGraph server with the guarded graph: offline without ANTHROPIC_API_KEY
	@$(BIN)/python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null || \
		{ echo "port $(PORT) is in use: stop what listens there, or take another: make serve PORT=2025" >&2; exit 1; }
	LANGGRAPH_CLI_NO_ANALYTICS=1 $(BIN)/langgraph dev --no-browser --no-reload --port $(PORT)

test: $(READY) ## the whole suite, PostgreSQL included
	$(BIN)/python -m pytest

test-browser: $(READY) ## the web chat in real Chromium, which must be on the machine
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,browser]'
	$(BIN)/python -m pytest -m browser tests/browser

FLOOR := .venv-floor

test-floor: ## unit and integration tests on exactly the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv $(FLOOR)
	$(FLOOR)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(FLOOR)/bin/uv pip install --quiet --python $(FLOOR)/bin/python --resolution lowest-direct -e '.[test]'
	$(FLOOR)/bin/python -m pytest tests/unit tests/integration

lint: $(READY) ## style, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

TRAINED := $(VENV)/.trained

$(TRAINED): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,test]'
	@touch $@

bench: $(TRAINED) ## turns side by side with the bare agent, stock middlewares and other frameworks; writes docs/benchmarks/
	$(BIN)/python benchmarks/run.py
	$(MAKE) bench-peers

bench-registry: $(READY) ## ten million threads, a million sealed: half an hour, 15 GB of disk; writes docs/benchmarks/
	$(BIN)/python benchmarks/registry.py --write

PEERS := .venv-peers

$(PEERS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[langchain,sqlite]' nemoguardrails openai-agents
	@touch $@

bench-peers: $(PEERS)/.ready ## the same beside guardrails of NeMo and OpenAI Agents only, in an environment of its own
	$(PEERS)/bin/python benchmarks/peers.py --write

evaluate: $(READY) ## play the frozen set through the real middleware, with recorded answers of a language model; writes docs/evaluation/
	$(BIN)/python evaluation/run.py --write

EVALS := $(VENV)/.evals

$(EVALS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[evals,test]'
	@touch $@

evals: $(EVALS) ## EndBench with three scripted models: offline, no key; writes docs/evaluation/endbench.md and its plot
	$(BIN)/python -m end_conversation_tool.evals --every 8 --write docs/evaluation/endbench.md

# The next two need labelled data, in $END_CONVERSATION_DATA or ../shared/data; without it they say so and stop.
train: $(TRAINED) ## fit the models of the watch and write the weights that ship
	$(BIN)/python training/train.py

eval-watch: $(TRAINED) ## measure the watch on held-out rows; writes docs/evaluation/
	$(BIN)/python training/evaluate.py

clean:
	rm -rf $(VENV) $(PEERS) $(FLOOR) .mypy_cache .pytest_cache .ruff_cache .hypothesis
