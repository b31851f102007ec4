"""Other people's methods, written afresh from their papers, to be trained and measured beside PoCoLD.

``pidm`` and ``nted`` hold a network each, ``loading`` reads either's folder.
"""
