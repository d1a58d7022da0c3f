"""Hyperparameter sweeps: spaces, the scheduler of trials, the trainer of populations."""
