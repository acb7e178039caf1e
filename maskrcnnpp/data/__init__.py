"""What a training reads: the catalog, the mapper, augmentations and the loader."""
