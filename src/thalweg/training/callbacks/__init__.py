"""What happens around the training loop, one file each."""
