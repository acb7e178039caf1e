"""One thread, no GPU; tiny models and batches, 64x64 pixels."""

import json
import os

# before CUDA is looked for: the tests compare exact numbers, whatever GPU is there
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import detectron2.engine.defaults  # noqa: E402
import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from detectron2.config import get_cfg  # noqa: E402
from detectron2.structures import BitMasks, Boxes, Instances  # noqa: E402
from PIL import Image  # noqa: E402

import maskrcnnpp  # noqa: E402
from maskrcnnpp.engine.curves import write_curves  # noqa: E402
from maskrcnnpp.engine.hooks import curves  # noqa: E402

# tiny tensors: a second thread costs more than it brings, most of all on a busy machine
torch.set_num_threads(1)

# a busy machine is no failure
hypothesis.settings.register_profile("maskrcnnpp", deadline=None)
hypothesis.settings.load_profile("maskrcnnpp")


#: Folders and files of tests that `make test-fast` leaves out: trainings, other processes, models
#: and their encoders. Single tests beside are marked `slow`.
SLOW = {
    *("benchmark", "engine", "exporting", "integrations", "napari_plugin"),
    *("test_catalog.py", "test_connect.py", "test_dask.py", "test_docs.py", "test_dsb2018_tool.py"),
    *("test_embedded.py", "test_environment.py", "test_first_convolution.py", "test_heads.py"),
    *("test_help.py", "test_killed_conversion.py", "test_lazy_configs.py", "test_models.py"),
    *("test_predict_planes.py", "test_predict_tool.py", "test_predictor.py", "test_pretrained.py"),
    *("test_processes.py", "test_pruning.py", "test_registered_encoders.py", "test_tracing.py"),
    *("test_timm_backbone.py", "test_tta.py", "test_unet_encoders.py", "test_validation.py"),
    *("test_view.py", "test_wheel.py", "test_without_torch.py"),
}


def pytest_collection_modifyitems(items):
    for item in items:
        if SLOW & {item.path.name, item.path.parent.name}:
            item.add_marker("slow")
    # the processes of `make test` take files in this order: none is left alone with a long one
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def value_of(cfg, *keys, default=None):
    for key in keys:
        node = cfg
        for name in key.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        if node is not None:
            return node
    return default


@pytest.fixture(autouse=True, scope="session")
def quick_trainings():
    """Without what takes longer than the few iterations that most tests train for."""
    with pytest.MonkeyPatch.context() as patch:
        # Detectron2 writes and reads the whole config as YAML for each of three keys
        if hasattr(detectron2.engine.defaults, "_try_get_key"):
            patch.setattr(detectron2.engine.defaults, "_try_get_key", value_of)
        patch.setattr(curves, "write_curves", lambda output_dir: None)
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def drawn_curves(monkeypatch):
    """A training draws its curves, which others leave out."""
    monkeypatch.setattr(curves, "write_curves", write_curves)


@pytest.fixture(autouse=True)
def same_random_weights():
    """The same in every run, whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def default_root(monkeypatch):
    """The tests see no data sets of the machine they run on."""
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)


@pytest.fixture
def tiny_cfg():
    """Mask R-CNN++ on res2..res5 of ResNet-18, 32 channels, on the CPU. Not frozen."""
    cfg = get_cfg()
    maskrcnnpp.add_maskrcnnpp_config(cfg)
    cfg.merge_from_file("configs/quick/maskrcnnpp_R_18_nested_fpn.yaml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [32, 32, 32, 32]
    cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [1.0, 1.0]
    cfg.MODEL.RPN.CONV_DIMS = [32]
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 60
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 32
    return cfg


@pytest.fixture
def make_input():
    """``make_input(count)``: one 64x64 training image with that many square objects."""

    def make(count: int, size: int = 64) -> dict:
        generator = torch.Generator().manual_seed(count)
        corners = torch.randint(0, size - 20, (count, 2), generator=generator).float()
        boxes = torch.cat([corners, corners + 16], dim=1)
        masks = torch.zeros(count, size, size, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist()):
            mask[y0:y1, x0:x1] = True
        instances = Instances((size, size))
        instances.gt_boxes = Boxes(boxes)
        instances.gt_classes = torch.zeros(count, dtype=torch.int64)
        instances.gt_masks = BitMasks(masks)
        image = torch.randint(0, 256, (3, size, size), generator=generator).float()
        return {"image": image, "instances": instances, "height": size, "width": size}

    return make


@pytest.fixture
def label_set(tmp_path):
    """File of a data set of label images."""
    rng = np.random.default_rng(0)
    images = []
    for folder in ("images", "labels", "annotations"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        labels = np.zeros((64, 64), np.uint8)
        labels[10:40, 5 * number : 5 * number + 30] = 1
        pixels = (100 * labels + rng.integers(0, 60, labels.shape)).astype(np.uint8)
        for folder, array in (("images", pixels), ("labels", labels)):
            Image.fromarray(array).save(tmp_path / folder / f"{number}.png")
        about = {"id": number, "file_name": f"{number}.png", "height": 64, "width": 64}
        images.append({**about, "sem_seg_file_name": f"../labels/{number}.png"})
    file = tmp_path / "annotations" / "semantic_train.json"
    file.write_text(json.dumps({"images": images, "categories": [{"id": 1, "name": "square"}]}))
    return str(file)
