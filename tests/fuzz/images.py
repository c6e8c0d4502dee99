"""Coverage-guided fuzzing of the reader of images, with atheris.

    python -m fuzz.images [SECONDS]

Every input must end in facts of their types or in a refusal, within the budget of reads and bytes. An input
that does not is written beside the working directory by libFuzzer, and ends the program with a traceback.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["metaferry.media.facts"]):
    from unit.media.facts.images.making import WHOLE, checked


def check(data: bytes) -> None:
    if data:
        checked(data)


def main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(WHOLE):
            (Path(folder) / str(number)).write_bytes(seed)
        limits = [f"-max_total_time={seconds}", "-max_len=65536", "-timeout=20", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *limits, folder], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
