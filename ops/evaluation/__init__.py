"""Evaluation: full ranking of held-out movies, beside baselines and by group of users."""
