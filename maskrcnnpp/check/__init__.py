"""What a data set contains, and what is wrong with it."""
