"""A small network of the U-Net family for tests."""

from maskrcnnpp.config_reader import build_config

ROWS = [4, 8, 16, 32, 64]


def unet_cfg(*opts: object, rows: list[int] = ROWS):
    """The papers' config, one grey channel, with rows of few filters, on the CPU. Not frozen."""
    words = ["MODEL.DEVICE", "cpu", "MODEL.NESTED_UNET.ROW_CHANNELS", str(rows)]
    words += ["MODEL.PIXEL_MEAN", "[127.5]", "MODEL.PIXEL_STD", "[127.5]", "INPUT.FORMAT", "L"]
    cfg = build_config("configs/semantic/Base-UNet.yaml", [*words, *map(str, opts)])
    cfg.defrost()
    return cfg


def grid(name: str) -> str:
    return f"MODEL.NESTED_UNET.{name}"


def head(name: str) -> str:
    return f"MODEL.SEM_SEG_HEAD.{name}"


WEIGHTS = head("DEEP_SUPERVISION.WEIGHTS")
MODE = head("DEEP_SUPERVISION.MODE")
