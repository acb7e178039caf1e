"""What happens around the iterations of a training."""
