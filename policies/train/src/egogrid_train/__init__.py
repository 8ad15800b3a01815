"""Data, training and validation of the small SpatialVLA checkpoint that Egogrid ships.

From: Meta-World's scripted experts. To: a checkpoint in the released SpatialVLA file format. See `README.md`.
"""
