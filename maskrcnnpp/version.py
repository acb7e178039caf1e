__version__ = "0.1.0"
#: Oldest PyTorch that trains: older ones lack what loading and the training step use.
OLDEST_TORCH = "2.6"
