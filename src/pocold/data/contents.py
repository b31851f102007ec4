"""What a data set holds, by content: a checksum that tells whether something was made of it as it is now.

Reports, cached latents, pairs for refiners and training runs note the checksums of what they were made of, and
:func:`require_same` compares them before any of it is used again. File names, places and dates do not count: a data set
that is copied or packed into shards is the same one.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pocold.data.keypoints import stored_bytes
from pocold.data.pictures import Pair, PairDataset, RawPicture
from pocold.data.shards import ShardPairs

_LENGTH = 16  # hexadecimal digits: 64 bits


class Contents:
    """Collects pictures and pairs, in any order, for their checksum.

    Args:
        keypoints: count them, too: something was made of them.
    """

    def __init__(self, keypoints: bool = False) -> None:
        self._keypoints = keypoints
        self._pictures: dict[str, str] = {}
        self._pairs: set[Pair] = set()

    def picture(self, raw: RawPicture) -> None:
        """Add a picture: its name, the bytes of photograph, map and garment map, and how the map is read."""
        parts = (raw.photo, raw.pose, raw.garments or b"")
        digests = [hashlib.sha256(part).hexdigest() for part in parts]
        if self._keypoints:
            digests.append(hashlib.sha256(stored_bytes(raw.keypoints)).hexdigest())
        self._pictures[raw.name] = " ".join((*digests, raw.channels))

    def pairs(self, pairs: Iterable[Pair]) -> None:
        """Add pairs of names."""
        self._pairs.update(pairs)

    def checksum(self) -> str:
        """Of all that was added."""
        pictures = [f"{name}\t{digest}" for name, digest in sorted(self._pictures.items())]
        return _digest([*pictures, "", *("\t".join(pair) for pair in sorted(self._pairs))])


def data_checksum(data: PairDataset | ShardPairs) -> str:
    """The checksum of all pairs of a split and of their pictures; of their keypoints where the data's transform asks
    for them. Every file is read; none is decoded.

    Raises:
        ValueError: if a file cannot be read and the data set does not skip such.
    """
    contents = Contents(data.transform.keypoints)
    for group in data.people():
        contents.pairs(group.pairs)
        for raw in group.pictures.values():
            contents.picture(raw)
    return contents.checksum()


def bytes_checksum(contents: Iterable[bytes]) -> str:
    """The checksum of some files' bytes, in any order, whatever they are called."""
    return _digest(sorted(hashlib.sha256(content).hexdigest() for content in contents))


def files_checksum(paths: Iterable[str | Path]) -> str:
    """Likewise, of files on disk."""
    return bytes_checksum(Path(path).read_bytes() for path in paths)


def require_same(before: Mapping[str, Any], now: Mapping[str, Any], what: str, advice: str) -> None:
    """Compare what something was made of, or by which settings, with what is given now.

    Args:
        before: as noted when it was made.
        now: as it is.
        what: begins the message, such as "out/pictures holds pictures of another run".
        advice: ends it.

    Raises:
        ValueError: naming each entry that differs.
    """
    before, now = (json.loads(json.dumps(part)) for part in (before, now))  # lists and tuples are the same
    different = [
        f"{key}: {before.get(key)!r} there, {now.get(key)!r} now"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if different:
        raise ValueError(f"{what} ({'; '.join(different)}); {advice}")


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_LENGTH]
