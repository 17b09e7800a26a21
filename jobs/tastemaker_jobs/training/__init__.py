"""Training: one loop for all models, without Ray; the Ray file only wraps it."""
