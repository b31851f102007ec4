"""The diffusion process: schedulers, guidance, the sampling loop, editing, the training loss, and settings for drawing.

From outside import the modules. ``settings`` needs no torch.
"""
