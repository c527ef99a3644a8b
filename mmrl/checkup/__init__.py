"""Looks a model over before it is trained: `mmrl doctor model=NAME`."""
