"""Speed, as ratios of what is measured side by side in one run: `python -m benchmarks`."""

import experiments  # noqa: F401  (quiets what MuJoCo and XLA print while they are imported)
