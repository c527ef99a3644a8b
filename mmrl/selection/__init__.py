"""Score a pool of rows by how hard they are, and keep a part of it."""
