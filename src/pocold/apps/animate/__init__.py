"""``pocold animate``: ``motions`` says which poses follow each other, ``command`` draws and writes them."""
