"""``pocold bulk``: rows are read (``jobs``), drawn (``painter``; ``workers``, ``ray_run``), and kept (``outputs``).

From outside only ``run`` is imported.
"""
