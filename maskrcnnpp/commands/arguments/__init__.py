"""Arguments of the commands. Nothing that takes time is imported here: --help answers at once."""
