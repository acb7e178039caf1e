"""Augmentations of values and of geometry."""
