"""Columns as numbers: encoders fitted without the target, and features that need it, inside folds."""
