"""What MLSH is compared with."""
