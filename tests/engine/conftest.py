import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.synthetic import synthetic_samples
from maskrcnnpp.engine import build_config

CONFIGS = {
    "stock": "tests/files/configs/stock.yaml",
    "nested": "tests/files/configs/nested.yaml",
}


@pytest.fixture(scope="session")
def tiny_nuclei(tmp_path_factory):
    """Name of a registered data set of eight 64x64 images, for training and evaluation."""
    folder = tmp_path_factory.mktemp("tiny_nuclei")
    samples = list(synthetic_samples(8, height=64, width=64, count=(3, 6), seed=0, prefix="x"))
    with CocoDatasetWriter(folder, info={}) as writer:
        for sample in samples:
            writer.add(sample)
        writer.commit({"train": [sample.name for sample in samples]})
    name = "tiny_nuclei_for_tests"
    register_coco_instances(
        name, {}, str(folder / "annotations" / "instances_train.json"), str(folder / "images")
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.fixture
def tiny_opts(tiny_nuclei, tmp_path):
    """KEY VALUE overrides that make any config of the project train on the tiny data set."""
    opts = {
        "MODEL.DEVICE": "cpu",
        "DATASETS.TRAIN": f"('{tiny_nuclei}',)",
        "DATASETS.TEST": f"('{tiny_nuclei}',)",
        "DATALOADER.NUM_WORKERS": 0,
        "INPUT.CROP.SIZE": "[64, 64]",
        "SOLVER.IMS_PER_BATCH": 2,
        "TEST.EXPECTED_RESULTS": "[]",
        "TEST.DETECTIONS_PER_IMAGE": 20,
        "OUTPUT_DIR": str(tmp_path / "output"),
    }
    return [str(item) for pair in opts.items() for item in pair]


@pytest.fixture(params=sorted(CONFIGS))
def tiny_cfg(request, tiny_opts):
    """The quick config of each arm on the tiny data set. Not frozen."""
    cfg = build_config(CONFIGS[request.param], tiny_opts)
    cfg.defrost()
    return cfg
