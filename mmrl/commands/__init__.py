"""The sub-commands of `mmrl`, one file each."""
