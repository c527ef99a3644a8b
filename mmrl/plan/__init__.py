"""Predicts what a step costs, in memory and in seconds, without running it and without torch."""
