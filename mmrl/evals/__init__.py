"""The evaluation harness: benchmarks, engines that answer them, scores and what they are worth."""
