"""What a model is worth and why: metrics, intervals, decisions, groups, slices, effects."""
