"""Arms against each other: trials of several seeds, statistics, report."""
