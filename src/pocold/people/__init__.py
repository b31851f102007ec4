"""Parametric people: clothed adults in any pose and view, with exact DensePose. No learned weights, no photographs.

Start at :mod:`pocold.people.rendering.render`, which draws a person, and :mod:`pocold.people.poses`, which names poses.
Rooms: ``body``, ``wardrobe``, ``rendering``.
"""
