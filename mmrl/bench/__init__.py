"""What a training step costs: measured beside others, and predicted."""
