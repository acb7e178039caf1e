"""The commands of :mod:`maskrcnnpp.cli`, a module each: ``run(args)`` with the parsed arguments."""
