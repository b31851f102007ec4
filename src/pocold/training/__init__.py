"""Training: configs, the loops, checkpoints, validation, cached latents."""
