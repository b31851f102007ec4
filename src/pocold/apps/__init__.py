"""What people use: one module per command, and ``drawing``, the rooms that the drawing commands share.

``commands`` has their flags and needs no torch. May use the pipeline and what lies below
it, never data, evaluation or training.
"""
