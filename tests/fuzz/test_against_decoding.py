"""Damaged headers: a count that an index claims is the count that decodes, or nothing decodes cleanly."""

from __future__ import annotations

import random

import pytest

from fuzz.seeds import SEEDS, claimed, damaged, decoded


@pytest.mark.parametrize("reader", sorted(SEEDS))
@pytest.mark.parametrize("seed", range(4))
def test_no_claim_is_another_number_than_what_decodes(reader: str, seed: int) -> None:
    chance = random.Random(f"{reader} {seed}")
    claims = 0
    for _ in range(150):
        data = damaged(reader, chance)
        found = claimed(data)
        if found is not None:
            claims += 1
            assert decoded(data) in (found.frames, None)
    assert claims or reader == "matroska"
