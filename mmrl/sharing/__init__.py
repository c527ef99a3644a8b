"""What a group of completions has in common is computed once: its prompt, and its media."""
