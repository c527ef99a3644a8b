"""Models of about a million random parameters, made of the real classes, so that everything runs on
a laptop without a download.
"""
