"""Parts of the models. Importing this package registers them with Detectron2."""

from maskrcnnpp.modeling import embedded as _embedded  # noqa: F401  # only registration
from maskrcnnpp.modeling import mask_head as _mask_head  # noqa: F401  # only registration
from maskrcnnpp.modeling import nested_fpn as _nested_fpn  # noqa: F401  # only registration
from maskrcnnpp.modeling import sem_seg_head as _sem_seg_head  # noqa: F401  # only registration
from maskrcnnpp.modeling import timm_backbone as _timm  # noqa: F401  # only registration
from maskrcnnpp.modeling import unet as _unet  # noqa: F401  # only registration
