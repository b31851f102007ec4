"""From a dressed figure to a picture: raster, materials, light, studio."""
