"""What is in a data set: numbers, pictures, a page, suggested settings."""
