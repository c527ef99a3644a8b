"""Engines sample completions: G per prompt, with the log-probs that they were sampled with."""
