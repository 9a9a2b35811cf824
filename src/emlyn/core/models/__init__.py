"""What a model is made of: members, their mathematics, calibration, and parts that load without running code."""
