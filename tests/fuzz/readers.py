"""Coverage-guided fuzzing of one index reader, with atheris.

    python -m fuzz.readers READER [SECONDS]

READER is one of `fuzz.seeds.SEEDS`. Every input must end in a count or in a reason, within the
budgets of the readers; what a count claims must be what decodes, where anything decodes without
an error. An input that breaks one of these is written beside the working directory by libFuzzer,
and ends the program with a traceback.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["metaferry.media.frames"]):
    from fuzz.seeds import SEEDS, claimed, damaged, decoded


def check(data: bytes) -> None:
    found = claimed(data)
    claimed(data, times=True)
    if found is not None:
        truth = decoded(data)
        if truth not in (found.frames, None):
            raise AssertionError(f"{found.frames} claimed, {truth} decode: {found.explain}")


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Half of the inputs are damaged headers of real files, half are libFuzzer's own."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        return damaged(sys.argv[1], chance)[:most]
    mutated: bytes = atheris.Mutate(data, most)
    return mutated


def main() -> None:
    reader, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"
    with tempfile.TemporaryDirectory() as folder:
        for number, (seed, _) in enumerate(SEEDS[reader]):
            (Path(folder) / str(number)).write_bytes(seed)
        limits = [f"-max_total_time={seconds}", "-max_len=65536", "-timeout=20", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *limits, folder], check, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
