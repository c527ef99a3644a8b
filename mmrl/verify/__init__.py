"""What verifiers share: how answers are read from hostile text, and how they are compared."""
