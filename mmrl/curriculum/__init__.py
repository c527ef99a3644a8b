"""Which rows come next, and which stage: the runner of stages, and samplers that remember."""
