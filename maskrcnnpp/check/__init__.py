"""Contents and faults of a data set."""
