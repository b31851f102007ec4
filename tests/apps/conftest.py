from drawing_helpers import drawn_folder, here

__all__ = ["drawn_folder", "here"]
