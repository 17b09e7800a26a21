"""Tastemaker's jobs: get data, train models, judge them, publish them as SavedModels. See `cli`."""
