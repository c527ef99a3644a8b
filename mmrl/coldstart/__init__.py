"""Cold-start chains of thought: teachers, steps, and the chain that they make."""
