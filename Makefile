# One command each. `make run` and `make test` need nothing but Python 3.11+ and pip (tests: root or sudo for the broker).
PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
PEERS   ?= .venv-peers
INFERENCE ?= .venv-inference
CONFIG  ?=
RUN_FOR ?=
DRIFT   ?= haze
SCENE   ?= varied
ARGS    ?=
# Half of the flows' time is waiting, for brokers and cameras: three processes keep two cores busy.
WORKERS ?= $(shell echo $$(( ($$(getconf _NPROCESSORS_ONLN) * 3 + 1) / 2 )))

.PHONY: run test test-fast check bench bench-accuracy bench-calibration demo-bundle pictures clean

# The demo: a conveyor of real photographs, drifting half-way. CONFIG=my.yaml runs your own configuration instead.
run: $(BIN)/.installed-run
	@$(BIN)/edge-runtime $(if $(CONFIG),run $(CONFIG),demo --drift $(DRIFT) --scene $(SCENE)) $(if $(RUN_FOR),--for $(RUN_FOR))

# Byte code is kept: two hundred processes of the flows would compile the same files again.
test: $(BIN)/.installed-test
	@sh tools/ensure-test-tools.sh
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Only the unit tests: 75 s of CPU time on a box of two cores.
test-fast: $(BIN)/.installed-test
	$(BIN)/python -m pytest -m unit

check: $(BIN)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The speed of the daemon compared with the bare engine, with servers of models and with scripts; curves, hot swaps, live frames during
# a recalibration: docs/results/performance.md. About 40 minutes on an idle box; ARGS='--quick' is short, ARGS='--parts peers,quiet' only
# those, ARGS='--parts peers --rounds 1' adds a round to those measured before, ARGS='--fresh' forgets them.
bench: $(BIN)/.installed-build $(BIN)/.installed-test $(PEERS)/.installed
	$(BIN)/python -m benchmarks run recalibration-cost
	$(BIN)/python -m benchmarks run performance --peers-python $(PEERS)/bin/python $(ARGS)

# Accuracy before and after recalibration on labelled cut-outs (needs the Debian package tuxpaint-stamps-default); the page goes to
# build/bench-accuracy. ARGS='--model MODEL.onnx' measures another model.
bench-accuracy: $(BIN)/.installed-bench
	$(BIN)/python -m benchmarks run accuracy --tracks photo_cutouts --seeds 22,23,24 --results build/bench-accuracy --docs build/bench-accuracy $(ARGS)

# The whole evaluation of the recalibration (hours on two cores): docs/results/accuracy.md, its plots, parity.md and the tables of
# calibration.md. Resumable. ARGS='--goals' is what the table of goals needs, ARGS='--quick' a tiny version, ARGS='--tracks pedestrians'
# one track, ARGS='--fresh' starts over, ARGS='--pages-only' draws again.
bench-calibration: $(BIN)/.installed-bench
	$(BIN)/python -m benchmarks run accuracy $(ARGS)

# Rebuilds edge_runtime/sources/demo/bundle from the published weights.
demo-bundle: $(BIN)/.installed-build
	rm -rf build/demo-bundle
	$(BIN)/python -m examples.efficientnet_lite0 --out build/demo-bundle
	rm -rf edge_runtime/sources/demo/bundle/efficientnet-lite0/1
	mv build/demo-bundle/efficientnet-lite0/1 edge_runtime/sources/demo/bundle/efficientnet-lite0/

# The README's two pictures, from one real run of the demo (needs the Debian package chromium).
pictures: $(BIN)/.installed-pictures
	$(BIN)/python tools/draw_demo.py

$(BIN)/.installed-pictures: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[pictures]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(BIN)/.installed-run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

# BasicMotions, signals of six axes, lies in aeon as files; nothing of it is imported, and its dependencies hold NumPy back.
INSTALL_SIGNALS = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'aeon==1.6.0'

$(BIN)/.installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	$(INSTALL_SIGNALS)
	@touch $@

$(BIN)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,dev]'
	$(INSTALL_SIGNALS)
	@touch $@

$(BIN)/.installed-bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0' -e '.[bench]'
	$(INSTALL_SIGNALS)
	@touch $@

$(BIN)/.installed-build: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0' -e '.[build]'
	@touch $@

# Servers of models that the daemon is compared with; some pin old versions of what the rest of the project uses.
$(PEERS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench-peers]'
	@touch $@

# Roboflow's package, 7 GB, for `make bench ARGS='--parts camera-pipe --inference-python $(INFERENCE)/bin/python'`.
$(INFERENCE)/.installed: pyproject.toml
	$(PYTHON) -m venv $(INFERENCE)
	$(INFERENCE)/bin/python -m pip install --quiet --disable-pip-version-check 'inference-cpu>=1.8' 'paho-mqtt>=2.1,<3' onnxruntime
	@touch $@

clean:
	rm -rf $(VENV) $(PEERS) $(INFERENCE) state build .pytest_cache .mypy_cache .ruff_cache
