"""What is read: dataset readers, COCO JSON, splits, the catalog and synthetic images."""
