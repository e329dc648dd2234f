"""Training: from the data's three files to a release in the store."""
