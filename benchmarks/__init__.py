"""Speed, as ratios of what is measured side by side in one run: `python -m benchmarks`."""

import envs.quiet  # noqa: F401  (before Brax, which some of the modules here import themselves)
