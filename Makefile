# Two commands matter: `make demo` runs the main job, `make test` passes the whole gate.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
PEERS ?= .venv-peers
PEERS_OPTIONS ?=
PYTHON ?= python3
BIN := $(VENV)/bin
ACTIVATE := source $(BIN)/activate &&
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
RUST := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml
MINI := $(shell find python/similar_fast_mini -type f -not -path '*/build/*' -not -path '*.egg-info*')

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

# Stamps: what the demo needs, then what the gate needs beside it.

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "maturin>=1.9,<2"
	touch $@

$(VENV)/.built: $(VENV)/.python $(RUST)
	$(ACTIVATE) maturin develop --release --locked --quiet > $(VENV)/build.log 2>&1 || (cat $(VENV)/build.log; exit 1)
	touch $@

$(VENV)/.mini: $(VENV)/.python $(MINI)
	$(BIN)/python -m pip install --quiet ./python/similar_fast_mini
	touch $@

$(VENV)/.dev: $(VENV)/.built
	$(ACTIVATE) maturin develop --release --locked --quiet --extras dev,envs > $(VENV)/build.log 2>&1 || (cat $(VENV)/build.log; exit 1)
	$(BIN)/python -m pip install --quiet --no-deps --editable ./export # what it needs is among the extras
	touch $@

.PHONY: build
build: $(VENV)/.dev $(VENV)/.mini ## the virtual environment with everything the gate needs

.PHONY: chromium
chromium: ## install Chromium where none is found (Debian); SIMILAR_FAST_CHROMIUM names another
	@if [ -z "$${SIMILAR_FAST_CHROMIUM:-}" ] && \
	  ! command -v chromium-headless-shell chromium chromium-browser google-chrome > /dev/null; then \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq chromium-headless-shell > /dev/null; \
	fi

# The main job.

.PHONY: demo
demo: $(VENV)/.built $(VENV)/.mini ## watch a search solve recorded web tasks; writes similar-fast-demo.html
	$(BIN)/similar-fast demo

.PHONY: demo-browser
demo-browser: build chromium ## the same in a live Chromium
	$(BIN)/similar-fast demo --browser

# The gate.

TEST_WORKERS ?= 2

.PHONY: test
test: build chromium lint test-rust ## the whole gate, with TEST_WORKERS=2 processes for Python
	$(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile

.PHONY: test-core
test-core: build test-rust ## the quick subset: no browser
	$(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile -m "not browser and not packaging and not gpu"

.PHONY: test-rust
test-rust: loom ## Rust: tests, every order of the batcher's threads, and benches as tests
	cargo test --quiet --locked --workspace
	cargo bench --quiet --locked -p similar-fast-benches -- --test

.PHONY: loom
loom: ## every order of the batcher's threads, up to two forced switches
	RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 CARGO_TARGET_DIR=target/loom \
	  cargo test --quiet --locked --release -p similar-fast-core --test loom_batcher

.PHONY: lint
lint: build ## format, lints, types, stubs, import floors
	cargo fmt --all --check
	cargo fmt --manifest-path rust/fuzz/Cargo.toml --check
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest similar_fast._core
	$(BIN)/lint-imports

# Fuzzing: libFuzzer with the coverage counters of the stable compiler; rust/fuzz is a workspace of its own.

FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= calls load
FUZZ_HOST := $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_COVERAGE := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares

.PHONY: fuzz
fuzz: ## any calls and any saved file, FUZZ_SECONDS=600 for each; findings lie in target/fuzz
	RUSTFLAGS="$(FUZZ_COVERAGE)" cargo build --quiet --release --manifest-path rust/fuzz/Cargo.toml \
	  --target $(FUZZ_HOST) --target-dir target/fuzz
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p target/fuzz/$$target; \
	  nice -n 19 target/fuzz/$(FUZZ_HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) -timeout=20 -max_len=2048 -len_control=0 \
	    -print_final_stats=1 -artifact_prefix=target/fuzz/$$target- target/fuzz/$$target; \
	done

# Timings; see benches/RESULTS.md for what was measured with them.

.PHONY: bench
bench: build ## Rust and Python benches, timed
	cargo bench --locked -p similar-fast-benches
	$(BIN)/python -m pytest benches --benchmark-only --benchmark-enable

# What only a machine with a CUDA device can check: writes the checkpoints and the exports to
# GPU_SCRATCH, some 45 GB, and the tables beside them.

GPU_SCRATCH ?= target/gpu
GPU_SIZES ?= 2b 7b

.PHONY: gpu
gpu: build ## CUDA: scores equal the CPU's, then parity and speed beside transformers at 2B and 7B
	$(ACTIVATE) pip install --quiet "onnxruntime-gpu[cuda,cudnn]>=1.23,<2"
	$(BIN)/python -m pytest -m gpu
	@for size in $(GPU_SIZES); do \
	  PYTHONPATH=export:tests:benches $(BIN)/python benches/gpu/bench_cuda.py --size $$size \
	    --scratch $(GPU_SCRATCH) --out $(GPU_SCRATCH)/cuda-$$size.md; \
	done

.PHONY: bench-env
bench-env: build chromium ## the browser environment beside MiniWoB++'s own
	@command -v chromedriver > /dev/null || $(SUDO) apt-get install -y -qq chromium-driver > /dev/null
	$(BIN)/python benches/bench_env.py

$(PEERS)-batching/.built: $(RUST)
	$(PYTHON) -m venv $(PEERS)-batching
	$(PEERS)-batching/bin/python -m pip install --quiet "maturin>=1.9,<2" batched==0.1.5 litserve==0.2.19
	source $(PEERS)-batching/bin/activate && maturin develop --release --locked --quiet
	touch $@

.PHONY: bench-peers-batching
bench-peers-batching: $(PEERS)-batching/.built ## the batching beside the `batched` package and LitServe's loop
	$(PEERS)-batching/bin/python benches/peers_batching.py

$(PEERS)/.done: benches/peers/requirements.txt benches/peers/no-deps.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement benches/peers/requirements.txt
	$(PEERS)/bin/python -m pip install --quiet --no-deps --requirement benches/peers/no-deps.txt
	touch $@

.PHONY: bench-peers
bench-peers: build $(PEERS)/.done ## the tree search beside other packages' (downloads 3 GB, takes 15 minutes)
	cargo build --quiet --locked --release -p similar-fast-benches --example peer_rate
	$(BIN)/python benches/peers --peers-python $(PEERS)/bin/python $(PEERS_OPTIONS)

BROWSERGYM ?= .venv-browsergym
BROWSERGYM_OPTIONS ?=

$(BROWSERGYM)/.built: $(RUST)
	$(PYTHON) -m venv $(BROWSERGYM)
	$(BROWSERGYM)/bin/python -m pip install --quiet "maturin>=1.9,<2" browsergym-miniwob==0.14.3
	source $(BROWSERGYM)/bin/activate && maturin develop --release --locked --quiet
	$(BROWSERGYM)/bin/python -m playwright install chromium || echo "no Chromium of Playwright's own: the system's is used"
	touch $@

.PHONY: bench-browsergym
bench-browsergym: build chromium $(BROWSERGYM)/.built ## labels an hour beside the same loop through BrowserGym (takes 15 minutes)
	$(BIN)/python benches/peers_browsergym --peer-python $(BROWSERGYM)/bin/python $(BROWSERGYM_OPTIONS)

OPTIMUM ?= .venv-optimum

$(OPTIMUM)/.built: $(RUST)
	$(PYTHON) -m venv $(OPTIMUM)
	$(OPTIMUM)/bin/python -m pip install --quiet "maturin>=1.9,<2" optimum-onnx==0.1.0 "torch>=2.6,<3" safetensors jinja2
	source $(OPTIMUM)/bin/activate && maturin develop --release --locked --quiet
	touch $@

.PHONY: test-optimum
test-optimum: $(OPTIMUM)/.built ## our bert graph against optimum's, in an environment of its own (downloads 3 GB)
	PYTHONPATH=export $(OPTIMUM)/bin/python benches/optimum_bert.py

.PHONY: bench-prefix
bench-prefix: build ## shared prefixes beside whole prompts and transformers' own cache; several states at once
	OMP_NUM_THREADS=1 PYTHONPATH=export $(BIN)/python benches/bench_prefix.py
	OMP_NUM_THREADS=1 PYTHONPATH=export $(BIN)/python benches/bench_states.py

# The data sets in data/, made again: 40 and 25 minutes on two cores, and a second call goes on.

RUNS ?= runs
# --resume wants a collection that was begun, which a first call has not.
COLLECT = $(BIN)/similar-fast collect --workers 2 --out $(1) $(if $(wildcard $(1)/collect.json),--resume)
BENCHMARK := --idle skip --seeds 4000-4049 --rollouts 12 --min-rollouts 12 --width 4 --num-simulations 6

.PHONY: data-steps
data-steps: build chromium ## data/miniwob-steps.jsonl.xz: labels of the 12 train tasks
	$(call COLLECT,$(RUNS)/train) --tasks train --seeds 1000-1099 --max-labels 20000 --idle skip
	$(BIN)/similar-fast convert $(RUNS)/train/steps.jsonl data/miniwob-steps.jsonl.xz
	cp $(RUNS)/train/manifest.json data/miniwob-steps.manifest.json

.PHONY: data-steps-2
data-steps-2: build chromium ## data/miniwob-steps-2.jsonl.xz: a second round, played by FIRST, a model of the first labels
	@test -f "$(FIRST)/similar.json" || (echo "FIRST is '$(FIRST)'; expected the folder of a reward model, such as $(MINI_RUN)/model" >&2; exit 1)
	$(call COLLECT,$(RUNS)/round2) --tasks train --seeds 1060-1099 --model $(FIRST) --device cpu --temperature 1.0 --epsilon 0.3 \
	  --root-rollouts 20 --max-labels 12000
	$(BIN)/similar-fast convert $(RUNS)/round2/steps.jsonl data/miniwob-steps-2.jsonl.xz
	cp $(RUNS)/round2/manifest.json data/miniwob-steps-2.manifest.json

.PHONY: data-pairs
data-pairs: build chromium ## data/srm-miniwob.jsonl.xz: the benchmark of our own
	$(call COLLECT,$(RUNS)/srm-train) --tasks train $(BENCHMARK) --max-labels 2500
	$(call COLLECT,$(RUNS)/srm-held-out) --tasks held-out $(BENCHMARK) --max-labels 1800
	$(BIN)/similar-fast convert $(RUNS)/srm-train/steps.jsonl $(RUNS)/srm-train.jsonl --split train-tasks
	$(BIN)/similar-fast convert $(RUNS)/srm-held-out/steps.jsonl $(RUNS)/srm-held-out.jsonl --split held-out
	$(BIN)/similar-fast pairs $(RUNS)/srm-train.jsonl $(RUNS)/srm-held-out.jsonl \
	  --types H,OS,E,total --min-rollouts 12 --min-difference H=0.3,OS=0.5,E=0.3,total=4 \
	  --max-per-state 2 --balance --out data/srm-miniwob.jsonl.xz --json > data/srm-miniwob.json

.PHONY: data-pictures
data-pictures: build chromium ## the screenshots of data/srm-miniwob.jsonl.xz, into runs/
	$(BIN)/similar-fast screenshots data/srm-miniwob.jsonl.xz --store $(RUNS)/screenshots \
	  --out $(RUNS)/srm-miniwob-pictures.jsonl

# similar-mini again from scratch: BACKBONE is the folder of sentence-transformers/all-MiniLM-L6-v2, fetched by
# `hf download sentence-transformers/all-MiniLM-L6-v2 --local-dir $(BACKBONE)`. Thirty to eighty minutes a seed on one core.

BACKBONE ?= $(RUNS)/all-MiniLM-L6-v2
TRAINING_SEED ?= 0
MINI_RUN := $(RUNS)/mini-s$(TRAINING_SEED)
MINI_REWARD := python/similar_fast_mini/reward
MINI_NAME := --name similar-mini --license Apache-2.0
TRAIN := $(BIN)/similar-fast train --backbone $(BACKBONE) --validation-share 0 $(MINI_NAME) \
  --mark-overlap --max-history 4 --freeze-embeddings --rename 0.7 --epochs 2 --average 0.5 --plain-share 0.12 \
  --lexical-prior 1.5 --feature-share 0.25 --no-gate \
  --threads 1 --seed $(TRAINING_SEED) --resume

.PHONY: mini
mini: build ## train similar-mini with TRAINING_SEED and put it into python/similar_fast_mini/reward
	@test -f $(BACKBONE)/model.safetensors || (echo "no model.safetensors in $(BACKBONE): see the Makefile"; exit 1)
	$(TRAIN) data/miniwob-steps.jsonl.xz data/miniwob-steps-2.jsonl.xz --out $(MINI_RUN)
	rm -rf $(MINI_REWARD).new
	$(BIN)/similar-fast-export $(MINI_RUN)/checkpoint $(MINI_REWARD).new --dtype int8 \
	  --inputs data/miniwob-steps.jsonl.xz $(MINI_NAME)
	@if [ -e $(MINI_REWARD) ]; then rm -rf $(MINI_REWARD).old; mv $(MINI_REWARD) $(MINI_REWARD).old; fi
	mv $(MINI_REWARD).new $(MINI_REWARD)
	rm -rf $(MINI_REWARD).old

.PHONY: mini-shuffled
mini-shuffled: build ## the control: the same training on shuffled labels, no prior, into $(RUNS)/shuffled-s$(TRAINING_SEED)
	$(TRAIN) data/miniwob-steps.jsonl.xz data/miniwob-steps-2.jsonl.xz --shuffle-labels --lexical-prior 0 --out $(RUNS)/shuffled-s$(TRAINING_SEED)

# Whether the model helps: `make mini-eval` takes over the rows that are there; all arms take hours. What is measured
# so far stands in benches/RESULTS.md.

MODELS ?= mini-s0=python/similar_fast_mini/reward
SHUFFLED ?=
SEEDS ?= 3030-3049
ARMS ?= all

.PHONY: mini-eval
mini-eval: build chromium ## play every arm that has no row yet, MODELS="NAME=FOLDER ...", then print the tables
	$(BIN)/python benches/uplift unpack --out $(RUNS)/uplift
	$(BIN)/python benches/uplift play --models $(MODELS) $(if $(SHUFFLED),--shuffled $(SHUFFLED)) \
	  --arms '$(ARMS)' --seeds $(SEEDS) --workers 2 --out $(RUNS)/uplift
	$(BIN)/python benches/uplift table $(RUNS)/uplift --seeds $(SEEDS)

.PHONY: bench-mini
bench-mini: build ## a state of 10 candidates and a demo episode, with the first of MODELS
	$(BIN)/python benches/bench_mini.py $(lastword $(subst =, ,$(firstword $(MODELS))))

.PHONY: audit-env
audit-env: build chromium ## replay 160 episodes of the 20 tasks, twice each, and compare every screen
	$(BIN)/similar-fast audit-env

.PHONY: clean
clean: ## forget the virtual environment and all build products
	rm -rf $(VENV) $(PEERS) $(PEERS)-batching $(BROWSERGYM) $(OPTIMUM) target dist
