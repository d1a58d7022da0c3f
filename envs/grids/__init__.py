"""Flat worlds of points and cells, without physics."""
