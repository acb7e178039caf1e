"""Faults of a COCO annotation file, and a repaired copy of it."""
