"""Bytes to tensors and back: files, pictures, metadata, sheets. Knows nothing of bodies.

From outside import the modules: files, images, metadata, sheets.
"""
