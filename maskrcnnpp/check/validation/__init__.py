"""What is wrong with a COCO annotation file, and a repaired copy of it."""
