"""``pocold animate``: ``motions`` says which poses follow each other, ``plan`` what is drawn, ``command`` writes it."""
