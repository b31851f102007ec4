"""Rows of pictures with captions, for people to look at."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

_GAP, _CAPTION = 4, 16


def sheet_of_rows(rows: Sequence[Sequence[Image.Image]], captions: Sequence[str] = ()) -> Image.Image:
    """Pictures in a grid, white between them.

    Args:
        rows: pictures; those of one column should be of one width, those of one row of one height.
        captions: above the columns; none leaves the line out.

    Raises:
        ValueError: for no pictures, or more captions than columns.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise ValueError("a sheet needs at least one picture, got none")
    if len(captions) > columns:
        raise ValueError(f"expected at most {columns} captions, one per column, got {len(captions)}")
    widths = [max(row[i].width for row in rows if i < len(row)) for i in range(columns)]
    heights = [max(picture.height for picture in row) if row else 0 for row in rows]
    top = _CAPTION if captions else 0
    size = (sum(widths) + _GAP * (columns + 1), top + sum(heights) + _GAP * (len(rows) + 1))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    y = top + _GAP
    for row, height in zip(rows, heights, strict=True):
        x = _GAP
        for picture, width in zip(row, widths, strict=False):
            sheet.paste(picture, (x, y))
            x += width + _GAP
        y += height + _GAP
    x = _GAP
    for caption, width in zip(captions, widths, strict=False):
        pen.text((x, 1), caption, fill="black", font_size=12)
        x += width + _GAP
    return sheet
