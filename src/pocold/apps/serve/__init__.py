"""``pocold serve``: the drawing commands over HTTP. Holds no method: ``work`` calls the rooms that the commands call.

``command`` has the flags and needs neither torch nor FastAPI; the rest needs the extra ``serve``.
"""
