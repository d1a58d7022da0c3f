"""Experiments: one short module each, with presets and a `main`."""
