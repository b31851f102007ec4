"""``pocold ui``: the drawing commands in a browser. Holds no method: ``drawing`` calls the bodies of the commands.

``command`` has the flags and needs neither torch nor gradio. ``page`` lays the page out and joins its parts to
``handlers``; these to what ``sessions`` keeps, ``looking`` finds and ``drawing`` draws. ``server`` listens. All but
``command`` need the extra ``ui``.
"""
