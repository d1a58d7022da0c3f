"""Bodies that walk and swim."""

import envs.quiet  # noqa: F401  (before Brax, which imports what would print)
