"""The COCO annotation file: read, and checked by one set of rules."""
