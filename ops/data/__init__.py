"""Data to train on: ml-1m's three files, read, generated and fetched."""
