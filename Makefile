# make demo | make test | make lint. All of it happens inside this checkout.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := -c constraints.txt
SETUP := $(VENV)/.maskrcnnpp-is-set-up

# The demo runs on synthetic nuclei; make demo DSB2018=stage1_train.zip runs it on real ones.
DSB2018 ?=

.PHONY: setup demo test lint clean

setup: $(SETUP)

# An installed torch and Detectron2 are kept.
$(SETUP): setup.py constraints.txt requirements-detectron2.txt tools/install_detectron2.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'error: Python >= 3.10 is needed; name one with make PYTHON=/path/to/python'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import torch, torchvision' 2>/dev/null || \
		$(PIP) install $(CONSTRAINTS) torch torchvision
	$(PIP) install $(CONSTRAINTS) -e '.[detectron2-needs,test]'
	$(BIN)/python tools/install_detectron2.py
	touch $@

DEMO_DATA := $(if $(DSB2018),dsb2018,synthetic_nuclei)
DEMO_CONFIG := configs/quick/maskrcnnpp_R_18_nested_fpn.yaml

demo: $(SETUP)
	$(BIN)/python $(if $(DSB2018),datasets/prepare_dsb2018.py --source '$(DSB2018)',datasets/prepare_synthetic.py)
	$(BIN)/python tools/train_net.py --config-file $(DEMO_CONFIG) OUTPUT_DIR output/demo/run \
		DATASETS.TRAIN "('$(DEMO_DATA)_train',)" DATASETS.TEST "('$(DEMO_DATA)_val',)" \
		TEST.EXPECTED_RESULTS '[]'
	$(BIN)/python tools/demo_report.py --run-dir output/demo/run --dataset $(DEMO_DATA)_val \
		--output output/demo

test: $(SETUP)
	$(BIN)/python -m pytest

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) output build *.egg-info
