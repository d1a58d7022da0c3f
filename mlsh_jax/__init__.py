"""Meta Learning Shared Hierarchies (Frans et al. 2017, arXiv 1710.09767) in JAX."""
