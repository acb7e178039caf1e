"""Masks of objects as COCO run lengths: read, drawn, pasted, and measured."""
