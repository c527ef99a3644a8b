"""What a run achieved, as a table, a JSON file and a page to look at."""
