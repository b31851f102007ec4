"""The commands that draw: transfer, encode, edit, mix, show; and their parts, for those who build on them."""
