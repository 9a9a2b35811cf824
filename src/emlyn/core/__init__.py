"""Data and mathematics: tables, datasets, splits, metrics, models, the executor and the store. Knows no stage."""
