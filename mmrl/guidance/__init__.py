"""What happens to a group beside sampling and judging: hints, prefixes, teachers' traces, shuffled
frames, the probability of a reference, and rewards for thinking or not.
"""
