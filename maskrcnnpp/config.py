"""Every config key this project adds to Detectron2's."""

from __future__ import annotations

from detectron2.config import CfgNode

# The comment above a key is its text in docs/reference/config-keys.md, which
# docs/reference/config_keys.py writes.


def add_maskrcnnpp_config(cfg: CfgNode) -> None:
    """Add the keys of Mask R-CNN++ to ``cfg``, in place. Stock values are left as they are."""
    # The grid as a feature pyramid. Its rows are the maps of the encoder that MODEL.FPN.IN_FEATURES
    # names: for ResNets and timm networks neighbours of conv1, res2, ..., res5. conv1 adds a row of
    # stride 2, the row on which UNet++ segments; of a ResNet it is the map of the stem before
    # max-pooling. The last node of that row is level p1. It keeps the width of the row, and the
    # mask head of NestedROIHeads reads it beside its usual level.
    nested = cfg.MODEL.NESTED_FPN = CfgNode()
    # Encoder of build_nested_fpn_backbone: a name in Detectron2's BACKBONE_REGISTRY, such as
    # build_resnet_backbone (MODEL.RESNETS), build_timm_backbone (MODEL.TIMM) or one of your own,
    # whose maps halve in size. build_resnet_nested_fpn_backbone always has a ResNet.
    nested.ENCODER = "build_resnet_backbone"
    # Depth d of the pyramid, which is read from the nodes X(i,d-i). Rows and encoder stages below
    # row d are neither built nor computed. 0: as deep as the rows allow (3 for res2..res5, 4 with
    # conv1).
    nested.DEPTH = 0
    # Nodes of its row that a node reads: "dense" all of them (UNet++), "adjacent" the last one
    # (UNet+), "ensemble" the encoder's only, with a decoder for each depth (U-Net^e), "plain" the
    # same with one decoder (U-Net).
    nested.CONNECTIONS = "dense"
    # Channels of the nodes in row 0, 1, ...; one number for each of MODEL.FPN.IN_FEATURES. Levels
    # p2..p6 have MODEL.FPN.OUT_CHANNELS. With MODEL.FPN.NORM GN: multiples of 32, or any even
    # number below 64.
    nested.ROW_CHANNELS = [64, 64, 128, 256]
    # Nodes of row 0, which has the largest maps: "all" that CONNECTIONS names, or for each depth
    # the "last" alone, X(0,d) = H([X(0,0), U(X(1,d-1))]).
    nested.FINE_ROW = "all"
    # With a row of stride 2: what reads its level p1 beside the usual levels, "masks" or "boxes".
    nested.FINE_LEVEL_READERS = ["masks"]
    # Samples of RoIAlign in each bin and axis of p1. 0: as many as the bin has pixels.
    nested.FINE_SAMPLING_RATIO = 2
    # Convolutions (each with MODEL.FPN.NORM and ReLU) in a node. The papers' nodes have 2.
    nested.NUM_CONVS = 1
    # "full": 3x3 convolutions, as in the papers. "separable": 1x1 to the width of the row, then 5x5
    # in each channel by itself, which is faster (AP: docs/benchmarks/ablations.md).
    nested.NODE = "full"
    # Up-sampling between rows: "nearest", "bilinear", or "transposed" (a learned 2x2 transposed
    # convolution).
    nested.UPSAMPLE = "nearest"
    # In training, compute nodes a second time for the gradient instead of keeping their
    # intermediate values: less memory, more time.
    nested.CHECKPOINTING = False

    # Deep supervision: each iteration trains the full depth and one shallower depth, in turn (with
    # CONNECTIONS "ensemble" all of them). With DeepSupervisionMaskHead the mask head is trained on
    # the shallower depth. With MODEL.META_ARCHITECTURE EmbeddedRCNN RPN, box head and mask head
    # are, so that the model can be pruned to any depth afterwards. If there is only one pyramid (a
    # stock FPN, or depth 1), only LOSS has an effect.
    deep = cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION = CfgNode()
    # Mask loss of every depth: "cross_entropy" (stock) or "cross_entropy_dice" (UNet++). Read by
    # DeepSupervisionMaskHead.
    deep.LOSS = "cross_entropy_dice"
    # Weight of the losses of depth 1, 2, ... relative to those of the full depth; one number for
    # each shallower depth. A depth of weight 0 is neither supervised nor computed in training.
    deep.WEIGHTS = [1.0, 1.0]
    # Fraction (0, 1] of the full depth's RoIs that the shallower depth trains on; its time grows
    # with it. DeepSupervisionMaskHead takes the fraction of the foreground RoIs, EmbeddedRCNN of
    # MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE, with samples of its own.
    deep.ROI_FRACTION = 0.1
    # Masks at inference: "pruned" (of the full depth only) or "ensemble" (the mean of the full
    # depth's and the supervised shallower depths').
    deep.MODE = "pruned"

    # NestedROIHeads looks for a mask in a box that is wider by this part of its side, on each side,
    # and takes the box of the mask for the object's: where a box cuts an object, the mask mends it.
    # 0: the mask is cut to the box, as in stock.
    cfg.MODEL.ROI_MASK_HEAD.BOX_MARGIN = 0.0
    # NestedROIHeads multiplies the score of an object by the mean probability of its mask's pixels
    # (those of at least .5), so that an object with a doubtful mask ranks lower. Only predictions
    # change. NMS and TEST.DETECTIONS_PER_IMAGE go by the score of the box head.
    cfg.MODEL.ROI_MASK_HEAD.SCORE_MASKS = False

    # Side in pixels of a box that NestedROIHeads pools from level p4; a box of half the side is
    # pooled from p3, and so on. Detectron2's 224, chosen for photographs, pools everything below
    # 112 pixels from p2.
    cfg.MODEL.ROI_HEADS.CANONICAL_BOX_SIZE = 224

    # An encoder from timm: build_timm_backbone, and with Detectron2's FPN build_timm_fpn_backbone.
    # MODEL.WEIGHTS timm://NAME starts from its pretrained weights.
    timm = cfg.MODEL.TIMM = CfgNode()
    # Name of the network, such as tf_efficientnet_lite0.
    timm.NAME = ""
    # Maps that build_timm_backbone alone returns: conv1 (stride 2), res2, ..., res5 (stride 32).
    timm.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    # Batch normalization of the network: "FrozenBN" keeps all of the weights' values, "EvalBN"
    # keeps their statistics and learns scale and shift, "BN" learns all of it, from each batch.
    timm.NORM = "FrozenBN"

    _add_semantic_segmentation(cfg)

    # Store weights with the channels last in memory. Faster on some machines, slower on others.
    cfg.MODEL.CHANNELS_LAST = False
    # Compile backbone and heads with torch.compile, which takes minutes on a CPU. Faster on some
    # machines, slower on others.
    cfg.MODEL.COMPILE = False

    # "SGD" (stock) or "AdamW". Read by this project's trainer (`maskrcnnpp train`), not by
    # Detectron2's DefaultTrainer.
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Number of parts into which a process divides its images of a batch, to compute them one after
    # another: the memory of one part, the time of all.
    cfg.SOLVER.ACCUMULATE = 1
    # Fraction of the averaged weights that an iteration keeps, such as 0.999. The averaged weights
    # are evaluated, and are the model of the checkpoints. 0: no average.
    cfg.SOLVER.EMA_DECAY = 0.0
    # With SOLVER.AMP.ENABLED: "float16" (GPUs) or "bfloat16" (also CPUs).
    cfg.SOLVER.AMP.PRECISION = "float16"
    # A loss that is not finite, or explodes: its images are listed in OUTPUT_DIR/bad_losses.
    bad = cfg.SOLVER.BAD_LOSSES = CfgNode()
    # Iterations that may be skipped because of such a loss before the training ends.
    bad.SKIP = 0
    # A loss above this multiple of the median of the last 50 counts as exploded.
    bad.LARGEST = 100.0
    # Number of the last checkpoints of SOLVER.CHECKPOINT_PERIOD that are kept. 0: all.
    cfg.SOLVER.CHECKPOINTS_KEPT = 2

    # In every evaluation, also compute the losses of training on the images of DATASETS.TEST:
    # validation/total_loss and so on. Images are cropped and augmented as in training, each in the
    # same way every time.
    cfg.TEST.LOSS = False
    # Metric of the best checkpoint, which is kept as model_best.pth: such as "segm/AP", or
    # "validation/total_loss" (the lowest). "": none.
    cfg.TEST.BEST_METRIC = ""
    # Consecutive evaluations without a better one after which the training ends. 0: it never ends
    # early.
    cfg.TEST.PATIENCE = 0
    # Number of images of the first of DATASETS.TEST that are drawn with truth and prediction after
    # each evaluation while training: predictions.png, and TensorBoard. 0: none.
    cfg.TEST.PICTURES = 4

    # Areas in pixels up to which an object is small, and medium, in APs, APm, APl, ARs, ... COCO's
    # are 32x32 and 96x96. Areas that divide your own objects into thirds say more.
    cfg.TEST.AREA_BINS = [1024, 9216]

    # A tracker of experiments gets the config, the losses and the metrics of a training. Its own
    # settings are its environment variables, such as MLFLOW_TRACKING_URI and WANDB_MODE.
    tracker = cfg.TRACKER = CfgNode()
    # "mlflow", "wandb" (Weights & Biases) or "trackio", which has to be installed. "": none.
    tracker.NAME = ""
    # Project (MLflow: experiment) to which the run belongs.
    tracker.PROJECT = "maskrcnnpp"

    # Channels of an image file that are read, numbered from 0, in the order in which the model
    # takes them. MODEL.PIXEL_MEAN and PIXEL_STD need as many numbers, because Detectron2 counts
    # the model's channels by them; or three, into which one channel goes as grey. []: by
    # INPUT.FORMAT, as Detectron2 does. With this key INPUT.FORMAT is ignored; for BGR write [2, 1,
    # 0].
    cfg.INPUT.CHANNELS = []
    # Two percentiles, such as [1.0, 99.8], of each image and channel that become 0 and 255; values
    # beyond them are clipped. Needed for images that are not 8-bit. []: values as they are.
    cfg.INPUT.PERCENTILES = []
    # Factor by which each image is resized for the model, in training, evaluation and prediction.
    # 2.0 doubles height and width, for four times the time. INPUT.CROP.SIZE is of the resized
    # image.
    cfg.INPUT.SCALE = 1.0
    # Random changes of training images, after Detectron2's crop, resizing and horizontal flip
    # (INPUT.RANDOM_FLIP), in this order. All are off by default.
    augment = cfg.INPUT.AUGMENT = CfgNode()
    # [lowest, highest] factor by which images are resized in addition to INPUT.SCALE, such as
    # [0.5, 2.0]. The crop then has the size of INPUT.CROP after the resizing.
    augment.SCALE = []
    # Mirror half of the images, at random, top to bottom.
    augment.VERTICAL_FLIP = False
    # 0, 1, 2 or 3 quarter turns.
    augment.ROT90 = False
    # Largest rotation in degrees, in both directions, such as 15.0. The image keeps its size: its
    # corners are lost, and the empty places get the median of the image.
    augment.ROTATION = 0.0
    # Largest displacement of a pixel, in pixels, such as 4.0, by a smooth random field. Needs
    # INPUT.MASK_FORMAT bitmask.
    augment.ELASTIC = 0.0
    # Strength from 0 to 1, such as 0.2: haematoxylin, eosin and DAB of a stained section are each
    # multiplied by a factor of 1 - strength to 1 + strength. Images without colour do not change.
    augment.STAIN = 0.0
    # Probability of the negative, 255 - value, so that objects are bright on dark and dark on
    # bright.
    augment.INVERT = 0.0
    # [lowest, highest] exponent of values as fractions of 255, such as [0.7, 1.4].
    augment.GAMMA = []
    # [lowest, highest] sigma of a Gaussian blur in pixels, such as [0.0, 1.5].
    augment.BLUR = []
    # [lowest, highest] standard deviation of Gaussian noise in grey values of 255, such as
    # [0.0, 10.0].
    augment.NOISE = []


def _add_semantic_segmentation(cfg: CfgNode) -> None:
    """U-Net, UNet+ and UNet++: MODEL.META_ARCHITECTURE SemanticSegmentor, MODEL.BACKBONE.NAME
    build_nested_unet_backbone and MODEL.SEM_SEG_HEAD.NAME DeepSupervisionSemSegHead.
    """
    # The grid as U-Net, UNet+ or UNet++, for semantic segmentation.
    unet = cfg.MODEL.NESTED_UNET = CfgNode()
    # Channels of row 0, 1, ... The default is the papers'; the wide U-Net has 35, 70, ..., 560.
    # Images are padded to multiples of 2^(rows - 1), and predictions are cropped back.
    unet.ROW_CHANNELS = [32, 64, 128, 256, 512]
    # Depth d of the network, whose output is read from X(0,d). 0: as deep as the rows allow.
    unet.DEPTH = 0
    # Encoder, which gives rows 1, 2, ...: "unet" (the papers'), "resnet" (MODEL.RESNETS: conv1,
    # res2, ..., up to five rows) or "timm/NAME" (a timm network with random weights, such as
    # timm/vgg16_bn). With the last two, H makes row 0 from the image, and the other rows are
    # projected to their ROW_CHANNELS.
    unet.ENCODER = "unet"
    # As in MODEL.NESTED_FPN.
    unet.CONNECTIONS = "dense"
    # As in MODEL.NESTED_FPN, with the papers' number.
    unet.NUM_CONVS = 2
    # As in MODEL.NESTED_FPN, with the papers' way.
    unet.UPSAMPLE = "transposed"
    # As in MODEL.NESTED_FPN.
    unet.CHECKPOINTING = False
    # Normalization of the convolutions. "": none, as in the papers.
    unet.NORM = ""

    head = cfg.MODEL.SEM_SEG_HEAD
    # "sigmoid": one channel for each class without the background, which is label 0; classes may
    # overlap. "softmax": one channel for each label, with the background.
    head.ACTIVATION = "sigmoid"
    # With "sigmoid": the labels of each class, unless class 1 is label 1, class 2 label 2, ...
    # [[1, 2, 3], [1, 3], [3]] are whole tumour, core and enhancing tumour of BraTS.
    head.REGIONS = []
    # Deep supervision of the semantic networks: a head for each depth.
    deep = head.DEEP_SUPERVISION = CfgNode()
    # Loss of every head: "unetpp_2019" (IEEE TMI), "unetpp_2018" (DLMIA), "cross_entropy_dice"
    # (Dice of an image's mask, with squares in the denominator) or "cross_entropy".
    deep.LOSS = "cross_entropy_dice"
    # Weights of the losses of depth 1, 2, ...; that of the full depth is 1. A depth of weight 0 has
    # no head. []: no deep supervision.
    deep.WEIGHTS = []
    # At inference "pruned" (the full depth) or "ensemble" (the mean of the heads).
    deep.MODE = "pruned"
    # Objects that are built from the prediction if the truth has objects, and judged as those of a
    # Mask R-CNN.
    objects = head.OBJECTS = CfgNode()
    # "components": pixels that touch are an object. "watershed": these are also split where they
    # are narrow.
    objects.METHOD = "watershed"
    # Two peaks of the distance map are split only if the saddle between them is at least this many
    # pixels lower.
    objects.NECK = 1.0
    # Pixels of the smallest object.
    objects.MIN_AREA = 10
