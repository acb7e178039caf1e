# make demo | make test | make lint | make docs. All of it happens inside this checkout.
PYTHON ?= python3
# an existing environment can be named: make VENV=/path/to/it. What it has is kept.
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SETUP := $(VENV)/.maskrcnnpp-is-set-up
# the tested versions, for an environment of our own
CONSTRAINTS := $(if $(filter .venv,$(VENV)),-c constraints.txt)
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 10))

# The demo runs on synthetic nuclei; make demo DSB2018=stage1_train.zip runs it on real ones.
DSB2018 ?=

$(if $(word 2,$(VENV)),$(error VENV is "$(VENV)": make cannot work with a space in it))

.PHONY: setup demo test lint docs

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
	$(PIP) install $(CONSTRAINTS) -e '.[detectron2-needs,test]'
	$(BIN)/python -c 'import cv2' 2>/dev/null || $(PIP) install $(CONSTRAINTS) -e '.[opencv]'
	$(BIN)/python -m maskrcnnpp install-detectron2
	touch $@

DEMO_DATA := $(if $(DSB2018),dsb2018,synthetic_nuclei)
DEMO_CONFIG := configs/quick/maskrcnnpp_R_18_nested_fpn.yaml

# data of its own, so that a data set of the user's under the same name stays as it is
demo: export DETECTRON2_DATASETS := output/demo/data
demo: $(SETUP)
	$(BIN)/python $(if $(DSB2018),datasets/prepare_dsb2018.py --source '$(DSB2018)',datasets/prepare_synthetic.py)
	$(BIN)/python tools/train_net.py --config-file $(DEMO_CONFIG) OUTPUT_DIR output/demo/run \
		DATASETS.TRAIN "('$(DEMO_DATA)_train',)" DATASETS.TEST "('$(DEMO_DATA)_val',)" \
		TEST.EXPECTED_RESULTS '[]'
	$(BIN)/python tools/run_report.py --run-dir output/demo/run --dataset $(DEMO_DATA)_val \
		--output output/demo

test: $(SETUP)
	$(BIN)/python -m pytest

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(SETUP)
	$(BIN)/python -c 'import mkdocs' 2>/dev/null || $(PIP) install $(CONSTRAINTS) -e '.[docs]'
	$(BIN)/python docs/reference/config_keys.py
	$(BIN)/python -m mkdocs build --strict
