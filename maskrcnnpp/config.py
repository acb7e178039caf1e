"""Every config key this project adds to Detectron2's."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_maskrcnnpp_config(cfg: CfgNode) -> None:
    """Add the keys of Mask R-CNN++ to ``cfg``, in place. Stock values are left as they are."""
    nested = cfg.MODEL.NESTED_FPN = CfgNode()
    # The encoder of build_nested_fpn_backbone: a name in Detectron2's BACKBONE_REGISTRY, such as
    # build_resnet_backbone (MODEL.RESNETS), build_timm_backbone (MODEL.TIMM) or one of your own,
    # whose maps halve in size. build_resnet_nested_fpn_backbone always has a ResNet.
    nested.ENCODER = "build_resnet_backbone"
    # The rows come from MODEL.FPN.IN_FEATURES, maps of the encoder: for ResNets and timm neighbours
    # of conv1, res2, ..., res5. conv1, of a ResNet the stem's map before its max-pooling, adds a
    # row of stride 2: the one on which UNet++ segments.
    # Its last node is level p1, which keeps the width of the row and which the mask head of
    # NestedROIHeads reads beside its usual level.
    #
    # Depth d of the pyramid, read off the nodes X(i,d-i). Rows and encoder stages below row d are
    # neither built nor computed. 0: as deep as the rows allow (3 for res2..res5, 4 with conv1).
    nested.DEPTH = 0
    # Which nodes of its row a node reads: "dense" (UNet++), "adjacent" (UNet+), "ensemble" (the
    # encoder's only: a decoder for each depth, U-Net^e) or "plain" (the same of one depth, U-Net).
    nested.CONNECTIONS = "dense"
    # Channels of the nodes in row 0, 1, ...; one entry for each of MODEL.FPN.IN_FEATURES. The
    # levels p2..p6 have MODEL.FPN.OUT_CHANNELS.
    # With MODEL.FPN.NORM GN, multiples of 32, or any even number below 64.
    nested.ROW_CHANNELS = [64, 64, 128, 256]
    # Nodes of row 0, the largest maps: "all" that CONNECTIONS names, or of each depth the "last"
    # alone, X(0,d) = H([X(0,0), U(X(1,d-1))]).
    nested.FINE_ROW = "all"
    # With a row of stride 2: what reads its level p1 beside the usual levels, "masks" or "boxes".
    nested.FINE_LEVEL_READERS = ["masks"]
    # Samples of RoIAlign a bin and axis in p1. 0: as many as there are pixels in the bin.
    nested.FINE_SAMPLING_RATIO = 2
    # 3x3 convolutions (each with MODEL.FPN.NORM and ReLU) in a node. The papers' nodes have 2.
    nested.NUM_CONVS = 1
    # Up-sampling between rows: "nearest", "bilinear", or "transposed" (a 2x2 transposed
    # convolution, learned).
    nested.UPSAMPLE = "nearest"
    # In training, compute nodes a second time for the gradient instead of keeping what is inside
    # them: less memory, more time.
    nested.CHECKPOINTING = False

    # Deep supervision: in each iteration the full depth learns and one shallower depth, in turn
    # (with CONNECTIONS "ensemble" all of them).
    # With DeepSupervisionMaskHead the mask head learns on it; with MODEL.META_ARCHITECTURE
    # EmbeddedRCNN RPN, box head and mask head do, so that the model can be cut to any depth
    # afterwards. With one pyramid (a stock FPN, or depth 1) there is nothing shallower, and only
    # LOSS has an effect.
    deep = cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION = CfgNode()
    # Mask loss of every depth: "cross_entropy" (stock) or "cross_entropy_dice" (UNet++). Read by
    # DeepSupervisionMaskHead.
    deep.LOSS = "cross_entropy_dice"
    # Weight of the losses of depth 1, 2, ... relative to those of the full depth; one entry for
    # each shallower depth. A depth of weight 0 is neither supervised nor computed in training.
    deep.WEIGHTS = [1.0, 1.0]
    # RoIs of the shallower depth as a part of the full depth's, above 0 and up to 1; each costs the
    # time that it costs there. Of an image's foreground RoIs, from which the mask head learns; with
    # EmbeddedRCNN of MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE, which it samples anew.
    deep.ROI_FRACTION = 0.1
    # Masks at inference: "pruned" (the full depth's only) or "ensemble" (the mean of the full
    # depth's and the supervised shallower depths').
    deep.MODE = "pruned"

    # Side of a box in pixels that NestedROIHeads pools from level p4; half of it is p3, and so on.
    # Detectron2's 224, made for photographs, pools everything below 112 pixels from p2.
    cfg.MODEL.ROI_HEADS.CANONICAL_BOX_SIZE = 224

    # An encoder from timm: build_timm_backbone, and with Detectron2's FPN build_timm_fpn_backbone.
    # MODEL.WEIGHTS timm://NAME begins with its pretrained weights.
    timm = cfg.MODEL.TIMM = CfgNode()
    # Name of the network, such as tf_efficientnet_lite0.
    timm.NAME = ""
    # Maps of build_timm_backbone alone: conv1 (stride 2), res2, ..., res5 (stride 32).
    timm.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    # Batch normalization of the network: "FrozenBN" keeps what the weights have, "EvalBN" keeps
    # their statistics and learns scale and shift, "BN" learns all of it, from each batch.
    timm.NORM = "FrozenBN"

    _add_semantic_segmentation(cfg)

    # Weights with the channels last in memory; backbone and heads through torch.compile, which
    # takes minutes on a CPU. Each is faster on some machines and slower on others.
    cfg.MODEL.CHANNELS_LAST = False
    cfg.MODEL.COMPILE = False

    # "SGD" (stock) or "AdamW". Read by this project's trainer (`maskrcnnpp train`), not by
    # Detectron2's DefaultTrainer.
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Parts into which a process divides its images of a batch, to be computed one after another:
    # the memory of one part, the time of all.
    cfg.SOLVER.ACCUMULATE = 1
    # Part of the averaged weights that stays in an iteration, such as 0.999; they are evaluated,
    # and are the model of the checkpoints. 0: no average.
    cfg.SOLVER.EMA_DECAY = 0.0
    # With SOLVER.AMP.ENABLED: "float16" (GPUs) or "bfloat16" (CPUs too).
    cfg.SOLVER.AMP.PRECISION = "float16"
    # A loss that is not finite, or explodes: the images are written to OUTPUT_DIR/bad_losses.
    bad = cfg.SOLVER.BAD_LOSSES = CfgNode()
    # Iterations that may be left out for it before the training ends.
    bad.SKIP = 0
    # Times the median of the last 50 losses that is an explosion.
    bad.LARGEST = 100.0
    # Of the checkpoints of SOLVER.CHECKPOINT_PERIOD, how many of the last are kept. 0: all.
    cfg.SOLVER.CHECKPOINTS_KEPT = 0

    # The losses of training on the images of DATASETS.TEST, too, in every evaluation:
    # validation/total_loss and so on. Images are cropped and augmented as in training, each in the
    # same way every time.
    cfg.TEST.LOSS = False
    # Metric by which a checkpoint is the best, kept as model_best.pth: such as "segm/AP", or
    # "validation/total_loss" (the lowest). "": none.
    cfg.TEST.BEST_METRIC = ""
    # Evaluations in a row without a better one that end the training. 0: goes on.
    cfg.TEST.PATIENCE = 0
    # Images of the first of DATASETS.TEST that are drawn with truth and prediction after each
    # evaluation while training: predictions.png, and TensorBoard. 0: none.
    cfg.TEST.PICTURES = 4

    # Areas in pixels up to which an object is small, and medium, in APs, APm, APl, ARs, ... COCO's
    # are 32x32 and 96x96; thirds of the objects of one's own data say more.
    cfg.TEST.AREA_BINS = [1024, 9216]

    # Numbers of the channels of an image file that are read, from 0, in the order in which the
    # model takes them. MODEL.PIXEL_MEAN and PIXEL_STD need as many entries: by these Detectron2
    # knows how many channels the model takes. []: by INPUT.FORMAT, as Detectron2 does,
    # which counts for nothing otherwise: [2, 1, 0] is BGR. With this key
    # INPUT.FORMAT counts for nothing: [2, 1, 0] is BGR.
    cfg.INPUT.CHANNELS = []
    # Two percentiles, such as [1.0, 99.8], of each image and channel that become 0 and 255; what
    # lies beyond becomes these. Needed for what is not 8-bit. []: values as they are.
    cfg.INPUT.PERCENTILES = []
    # Factor by which each image is resized for the model, in training, evaluation and prediction.
    # 2.0 enlarges images twofold, for four times the time. INPUT.CROP.SIZE is of the resized image.
    cfg.INPUT.SCALE = 1.0
    # Random changes of training images, after Detectron2's crop, resizing and horizontal flip
    # (INPUT.RANDOM_FLIP), in this order. All are off by default.
    augment = cfg.INPUT.AUGMENT = CfgNode()
    # [lowest, highest] factor by which images are resized beside INPUT.SCALE, such as [0.5, 2.0].
    # Instead of INPUT.CROP's crop one that has its size after that.
    augment.SCALE = []
    # Every other image upside down.
    augment.VERTICAL_FLIP = False
    # Quarter turns: 0, 1, 2 or 3 of them.
    augment.ROT90 = False
    # Largest turn in degrees, either way, such as 15.0. The size of the image stays: its corners
    # are lost, and what takes their place has the median of the image.
    augment.ROTATION = 0.0
    # Largest displacement of a pixel, in pixels, such as 4.0, by a smooth random field. Needs
    # INPUT.MASK_FORMAT bitmask.
    augment.ELASTIC = 0.0
    # Strength from 0 up to 1, such as 0.2: haematoxylin, eosin and DAB of a stained section are
    # each multiplied by a factor of 1 - strength to 1 + strength. Images without colour stay.
    augment.STAIN = 0.0
    # Probability of the negative, 255 - value: bright objects on dark and dark ones on bright.
    augment.INVERT = 0.0
    # [lowest, highest] exponent of values as parts of 255, such as [0.7, 1.4].
    augment.GAMMA = []
    # [lowest, highest] sigma of a Gaussian in pixels, such as [0.0, 1.5].
    augment.BLUR = []
    # [lowest, highest] standard deviation of Gaussian noise in grey values of 255, such as
    # [0.0, 10.0].
    augment.NOISE = []


def _add_semantic_segmentation(cfg: CfgNode) -> None:
    """U-Net, UNet+ and UNet++: MODEL.META_ARCHITECTURE SemanticSegmentor, MODEL.BACKBONE.NAME
    build_nested_unet_backbone and MODEL.SEM_SEG_HEAD.NAME DeepSupervisionSemSegHead.
    """
    unet = cfg.MODEL.NESTED_UNET = CfgNode()
    # Channels of row 0, 1, ... (the papers'; those of the wide U-Net are 35, 70, ..., 560). Images
    # are padded to multiples of 2^(rows - 1), and what is predicted is cut back.
    unet.ROW_CHANNELS = [32, 64, 128, 256, 512]
    # Depth d of the network, whose output is read off X(0,d); 0: as deep as the rows allow.
    unet.DEPTH = 0
    # What gives rows 1, 2, ...: "unet" (the papers'), "resnet" (MODEL.RESNETS: conv1, res2, ..., up
    # to five rows) or "timm/NAME" (a network of timm with random weights, such as timm/vgg16_bn).
    # Beside the papers', row 0 is made of the image by H, and the others are projected to their
    # ROW_CHANNELS.
    unet.ENCODER = "unet"
    # As for MODEL.NESTED_FPN, with the papers' values.
    unet.CONNECTIONS = "dense"
    unet.NUM_CONVS = 2
    unet.UPSAMPLE = "transposed"
    unet.CHECKPOINTING = False
    # Normalization of the convolutions; "" for none, as in the papers.
    unet.NORM = ""

    head = cfg.MODEL.SEM_SEG_HEAD
    # "sigmoid": a channel for each class but the background, label 0; classes may overlap.
    # "softmax": a channel for each label, the background's included.
    head.ACTIVATION = "sigmoid"
    # With "sigmoid", labels that make up a class, where it is not label 1 the first, 2 the second,
    # ...: [[1, 2, 3], [1, 3], [3]] are whole tumour, core and enhancing tumour of BraTS.
    head.REGIONS = []
    deep = head.DEEP_SUPERVISION = CfgNode()
    # Loss of every head: "unetpp_2019" (IEEE TMI), "unetpp_2018" (DLMIA), "cross_entropy_dice"
    # (Dice of an image's mask, squares below) or "cross_entropy".
    deep.LOSS = "cross_entropy_dice"
    # Weights of the losses of depth 1, 2, ..., beside the full depth's, which is 1; a depth of
    # weight 0 has no head. []: no deep supervision.
    deep.WEIGHTS = []
    # At inference "pruned" (the full depth) or "ensemble" (mean of the heads).
    deep.MODE = "pruned"
    # Objects made of the prediction, where the truth has objects, to be judged as those of a Mask
    # R-CNN: "components" are pixels that touch; "watershed" parts these where they are narrow.
    objects = head.OBJECTS = CfgNode()
    objects.METHOD = "watershed"
    # Pixels by which a place has to be nearer to the edge than the middles on both its sides, for
    # the watershed to part there; and pixels of the smallest object.
    objects.NECK = 1.0
    objects.MIN_AREA = 10
