"""Makes action.yml name a built image by digest in place of the Dockerfile.

usage: pin_image.py action.yml docker://HOST/OWNER/NAME@sha256:DIGEST
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

IMAGE = re.compile(r"docker://[a-z0-9./_-]+@sha256:[0-9a-f]{64}")
LINE = re.compile(r"^  image: Dockerfile$", re.MULTILINE)


def pinned(action: str, image: str) -> str:
    """The text of action.yml with the image in it.

    Raises:
        ValueError: The image is not named by digest, or the text does not build from the Dockerfile.
    """
    if IMAGE.fullmatch(image) is None:
        raise ValueError(f"{image} does not name an image by digest")
    text, count = LINE.subn(f"  image: {image}", action)
    if count != 1:
        raise ValueError(f"expected one line 'image: Dockerfile', found {count}")
    return text


def main() -> int:
    """Rewrites the file that the first argument names."""
    path, image = Path(sys.argv[1]), sys.argv[2]
    try:
        path.write_text(pinned(path.read_text(encoding="utf-8"), image), encoding="utf-8")
    except ValueError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
