"""Every config key this project adds to Detectron2's."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_maskrcnnpp_config(cfg: CfgNode) -> None:
    """Add the keys of Mask R-CNN++ to ``cfg``, in place. Stock values are left as they are."""
    nested = cfg.MODEL.NESTED_FPN = CfgNode()
    # The rows come from MODEL.FPN.IN_FEATURES: neighbours of conv1, res2, ..., res5. conv1, the
    # stem's map before its max-pooling, adds a row of stride 2 and with it level p1.
    #
    # Depth d of the pyramid, read off the nodes X(i,d-i). Rows and encoder stages below row d are
    # neither built nor computed. 0: as deep as the rows allow (3 for res2..res5, 4 with conv1).
    nested.DEPTH = 0
    # Which nodes of its row a node reads: "dense" (UNet++), "adjacent" (UNet+) or "ensemble"
    # (the encoder's only: a plain decoder for each depth, U-Net^e).
    nested.CONNECTIONS = "dense"
    # Channels of the nodes in row 0, 1, ...; one entry for each of MODEL.FPN.IN_FEATURES. The
    # levels p2..p6 have MODEL.FPN.OUT_CHANNELS. With MODEL.FPN.NORM GN, whose groups are of 8
    # channels here, multiples of 8.
    nested.ROW_CHANNELS = [64, 64, 128, 256]
    # 3x3 convolutions (each with MODEL.FPN.NORM and ReLU) in a node. The papers' nodes have 2.
    nested.NUM_CONVS = 1
    # Up-sampling between rows: "nearest" or "bilinear".
    nested.UPSAMPLE = "nearest"

    # Levels that the mask head reads, neighbours from fine to coarse; empty: those of
    # MODEL.ROI_HEADS.IN_FEATURES, as the box head does. Read by NestedROIHeads. Masks gain from a
    # finer level (p1) where boxes do not.
    cfg.MODEL.ROI_MASK_HEAD.IN_FEATURES = []

    # Read by DeepSupervisionMaskHead. With one pyramid (a stock FPN, or depth 1) there is nothing
    # shallower: WEIGHTS, ROI_FRACTION and MODE then have no effect.
    deep = cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION = CfgNode()
    # Loss of every depth: "cross_entropy" (stock) or "cross_entropy_dice" (UNet++).
    deep.LOSS = "cross_entropy_dice"
    # Weight of the mask loss of depth 1, 2, ... relative to that of the full depth; one entry for
    # each shallower depth. A depth of weight 0 is neither supervised nor computed in training.
    deep.WEIGHTS = [1.0, 1.0]
    # Part of an image's foreground RoIs from which the shallower depths learn, above 0 and up to 1.
    # Each of them costs the time that it costs the full depth.
    deep.ROI_FRACTION = 0.5
    # Masks at inference: "pruned" (the full depth's only) or "ensemble" (the mean of the full
    # depth's and the supervised shallower depths').
    deep.MODE = "pruned"

    # "SGD" (stock) or "AdamW". Read by this project's trainer (tools/train_net.py), not by
    # Detectron2's DefaultTrainer.
    cfg.SOLVER.OPTIMIZER = "SGD"

    # Areas in pixels up to which an object is small, and medium, in APs, APm, APl, ARs, ... COCO's
    # are 32x32 and 96x96; thirds of the objects of one's own data say more.
    cfg.TEST.AREA_BINS = [1024, 9216]
