"""Heat maps: a rate over two settings as an SVG of cells, the darker the fewer errors; and images in the same shades.

Knows nothing of what is drawn.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape

CELL_WIDTH, CELL_HEIGHT = 64, 34  # pixels
LEFT, TOP, BOTTOM = 64, 34, 46
PALE, DEEP = (242, 246, 250), (22, 78, 128)  # one hue, so that it also reads in grey


def heat_map(
    rates: Mapping[tuple[float, float], float], names: tuple[str, str], title: str, chosen: tuple[float, float] | None
) -> str:
    """Rates by (column, row) -> SVG. The chosen cell has a frame; cells without a rate stay empty."""
    columns, rows = (sorted({place[axis] for place in rates}) for axis in (0, 1))
    width = LEFT + CELL_WIDTH * len(columns) + 12
    height = TOP + CELL_HEIGHT * len(rows) + BOTTOM
    low, high = min(rates.values()), max(rates.values())
    middle = LEFT + CELL_WIDTH * len(columns) / 2
    parts = [text_at(middle, 20, title, size=13), text_at(middle, height - 8, names[0])]
    parts.append(
        f'<g transform="translate(14 {TOP + CELL_HEIGHT * len(rows) / 2}) rotate(-90)">{text_at(0, 0, names[1])}</g>'
    )
    for number, value in enumerate(columns):
        parts.append(text_at(LEFT + CELL_WIDTH * (number + 0.5), height - BOTTOM + 18, f"{value:g}"))
    for number, value in enumerate(reversed(rows)):
        parts.append(text_at(LEFT - 20, TOP + CELL_HEIGHT * (number + 0.5) + 4, f"{value:g}"))
    for place, rate in rates.items():
        parts += _cell(_corner(place, columns, rows), rate, (high - rate) / (high - low) if high > low else 1.0)
    if chosen is not None:
        x, y = _corner(chosen, columns, rows)
        parts.append(
            f'<rect x="{x + 1.5}" y="{y + 1.5}" width="{CELL_WIDTH - 3}" height="{CELL_HEIGHT - 3}" '
            'fill="none" stroke="#d9480f" stroke-width="3"/>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _corner(place: tuple[float, float], columns: Sequence[float], rows: Sequence[float]) -> tuple[int, int]:
    """Rows count upwards, as on an axis."""
    return LEFT + CELL_WIDTH * columns.index(place[0]), TOP + CELL_HEIGHT * (len(rows) - 1 - rows.index(place[1]))


def _cell(corner: tuple[int, int], rate: float, depth: float) -> list[str]:
    red, green, blue = (round(pale + (deep - pale) * depth) for pale, deep in zip(PALE, DEEP, strict=True))
    x, y = corner
    return [
        f'<rect x="{x}" y="{y}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}" fill="rgb({red},{green},{blue})"/>',
        text_at(x + CELL_WIDTH / 2, y + CELL_HEIGHT / 2 + 4, f"{rate:.2%}", colour="#fff" if depth > 0.5 else "#222"),
    ]


def text_at(x: float, y: float, text: str, size: int = 12, colour: str = "#222") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="middle" fill="{colour}">{escape(text)}</text>'


def png(lines: Sequence[bytes]) -> bytes:
    """An image, a byte for each pixel, from pale to deep."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ends = list(zip(PALE, DEEP, strict=True))
    palette = bytes(round(pale + (deep - pale) * shade / 255) for shade in range(256) for pale, deep in ends)
    header = struct.pack(">IIBBBBB", len(lines[0]), len(lines), 8, 3, 0, 0, 0)  # width, height, 8 bits of a palette
    rows = zlib.compress(b"".join(b"\0" + line for line in lines))  # each begins with its filter: none
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)
