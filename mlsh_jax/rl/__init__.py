"""The reinforcement learning underneath: losses, updates, returns, networks."""
