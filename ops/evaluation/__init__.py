"""Evaluation: full ranking of held-out movies, baselines beside, and whom a release serves badly."""
