"""Data sets of any layout to COCO and back."""
