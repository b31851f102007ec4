"""The rooms of a drawing command: read photographs (``sources``), read poses (``targets``), draw,
write (``results``)."""
