"""Scorers that several benchmarks share, as pure functions: options, numbers, formulas, boxes."""
