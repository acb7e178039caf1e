"""Hooks that run around the iterations of a training."""
