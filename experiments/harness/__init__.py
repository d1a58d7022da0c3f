"""What experiments share: configurations, stages, whole runs, closing numbers, figures."""
