"""Puts configs/ into the package. All else is said in pyproject.toml, which cannot."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["maskrcnnpp", "maskrcnnpp.*"]), "maskrcnnpp.configs"],
    package_dir={"maskrcnnpp.configs": "configs"},
)
