"""The image, built once a session. `make test-image` asks for it; elsewhere these tests are skipped."""

from __future__ import annotations

import os
import re
import time

import pytest

from image.engine import Engine, Missing, find_engine

TAG = "metaferry:0.1.0"


@pytest.fixture(scope="session")
def engine() -> Engine:
    if not os.environ.get("METAFERRY_IMAGE"):
        pytest.skip("building an image takes minutes: make test-image")
    try:
        return find_engine()
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def origin(engine: Engine) -> dict[str, str]:
    """The build arguments that the image was given, from the checkout as it was then."""
    return engine.origin()


@pytest.fixture(scope="session")
def image(engine: Engine, origin: dict[str, str]) -> str:
    """The tag of the image, built from the sources as they are."""
    began = time.monotonic()
    said = engine.build_image(TAG, arguments=origin)
    size = engine.image_size(TAG)
    seconds = time.monotonic() - began
    print(f"\nimage: {TAG}, {size / 1e6:,.0f} MB unpacked, built in {seconds:,.0f} s by {engine.name}")
    print(*re.findall(r"slim: .*", said), sep="\n")
    return TAG
