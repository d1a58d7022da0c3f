"""minigrid_*: rooms with walls, a door and a key, seen by an agent that looks ahead.

The rules are those of the package `minigrid` (Chevalier-Boisvert et al. 2023), beside which
`tests/envs/test_minigrid.py` plays all of it step by step. A task is a layout: everything that the
package draws in a reset, where the agent starts included.
"""
