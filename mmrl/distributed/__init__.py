"""Several processes train together: who they are, what each works on, how weights are spread."""
