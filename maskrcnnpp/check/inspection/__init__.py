"""Contents of a data set: numbers, pictures, a page, suggested settings."""
