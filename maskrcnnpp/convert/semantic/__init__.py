"""Pictures and their label images to data sets for semantic segmentation."""
