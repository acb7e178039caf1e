# make demo | make test | make test-fast | make coverage | make lint | make docs. All of it happens inside this checkout.
PYTHON ?= python3
# an existing environment can be named: make VENV=/path/to/it. What it has is kept.
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SETUP := $(VENV)/.maskrcnnpp-is-set-up
# what the tests need beside; make test TEST_EXTRAS=test,peers also holds metrics against StarDist's
TEST_EXTRAS ?= test
TEST_SETUP := $(VENV)/.maskrcnnpp-is-set-up-for-$(TEST_EXTRAS)
# as many processes as there are cores, up to 4, each with the tests of whole files, in the order of
# tests/conftest.py
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# the tested versions, for an environment of our own
CONSTRAINTS := $(if $(filter .venv,$(VENV)),-c constraints.txt)
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 10))

# The demo runs on synthetic nuclei; make demo DSB2018=stage1_train.zip runs it on real ones.
DSB2018 ?=

$(if $(word 2,$(VENV)),$(error VENV is "$(VENV)": make cannot work with a space in it))

.PHONY: setup demo test test-fast coverage lint docs

setup: $(SETUP)

$(SETUP): setup.py pyproject.toml constraints.txt maskrcnnpp/commands/requirements-detectron2.txt
	@test -x $(BIN)/python || $(PYTHON) -c '$(NEW_ENOUGH)' || \
		{ echo 'error: Python >= 3.10 is needed; name one: make PYTHON=/path/to/python3'; exit 1; }
	$(PIP) --version 2>/dev/null || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c '$(NEW_ENOUGH)' || \
		{ echo 'error: the Python of $(VENV) is older than 3.10'; exit 1; }
	$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) install $(CONSTRAINTS) torch torchvision
	@$(BIN)/python -c 'import torchvision' || \
		{ echo 'error: install the torchvision that fits the torch in $(VENV)'; exit 1; }
	$(PIP) install $(CONSTRAINTS) -e '.[detectron2-needs,outlines,timm]'
	$(BIN)/python -m maskrcnnpp install-detectron2
	touch $@

$(TEST_SETUP): $(SETUP)
	$(PIP) install $(CONSTRAINTS) -e '.[$(TEST_EXTRAS)]'
	touch $@

DEMO_DATA := $(if $(DSB2018),dsb2018,synthetic_nuclei)
COMMAND := $(BIN)/python -m maskrcnnpp
PREPARE_DEMO := $(COMMAND) $(if $(DSB2018),prepare dsb2018 --source '$(DSB2018)',prepare synthetic --train 60 --val 20 --test 4)
DEMO_SETS := DATASETS.TRAIN "('$(DEMO_DATA)_train',)" DATASETS.TEST "('$(DEMO_DATA)_val',)"

# Predicts with the shipped model, then fine-tunes it for a minute. make demo TRAIN=1 trains a model
# from ImageNet weights instead. Data of its own, so that a data set of the user's stays as it is.
demo: export DETECTRON2_DATASETS := output/demo/data
demo: $(SETUP)
	$(PREPARE_DEMO)
	rm -rf output/demo/predicted output/demo/run output/demo/shipped
ifdef TRAIN
	$(COMMAND) train --config-file maskrcnnpp://quick/maskrcnnpp_lite0_fast.yaml \
		OUTPUT_DIR output/demo/run $(DEMO_SETS)
else
	$(COMMAND) predict tests/files/stardist_image.tif \
		$(if $(DSB2018),,'output/demo/data/$(DEMO_DATA)/images/val_*.png') --output output/demo/predicted --format labels csv overlay
	$(COMMAND) train --config-file maskrcnnpp://recipes/finetune_nuclei.yaml --eval-only \
		OUTPUT_DIR output/demo/shipped $(DEMO_SETS)
	$(COMMAND) train --config-file maskrcnnpp://recipes/finetune_nuclei.yaml \
		OUTPUT_DIR output/demo/run $(DEMO_SETS)
	@echo 'AP of the shipped model is in output/demo/shipped/log.txt; after the fine-tuning:'
endif
	$(COMMAND) report --run-dir output/demo/run --dataset $(DEMO_DATA)_val --output output/demo
	@echo 'next: your own images: $(BIN)/maskrcnnpp predict IMAGES --output predicted'

test: $(TEST_SETUP)
	$(PYTEST)

# without what takes long: trainings, other processes, and tests of many examples
test-fast: $(TEST_SETUP)
	$(PYTEST) -m 'not slow'

# all tests, and which lines none of them runs: a table, and pages in htmlcov/
coverage: $(TEST_SETUP)
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html

lint: $(TEST_SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(SETUP)
	$(BIN)/python -c 'import mkdocs' 2>/dev/null || $(PIP) install $(CONSTRAINTS) -e '.[docs]'
	$(BIN)/python docs/reference/config_keys.py
	$(BIN)/python -m mkdocs build --strict
