"""What a reader may ask about the media of the input: a protocol, which a run fulfils.

A job whose sources speak of the media themselves (what they are, when their frames are shown) needs the
listing before its tables. It is made when a reader asks first; every other job reads its tables before
anything is listed. `runs/listings/media.py` fulfils this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import pyarrow as pa

from metaferry.job.readers.object import Object
from metaferry.media.facts.model import FactsKind
from metaferry.media.frames.model import FrameCount
from metaferry.storage.protocol import Storage


class MediaAccess(Protocol):
    """The media that a job takes in."""

    @property
    def storage(self) -> Storage:
        """The input."""
        ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The media in the order of their paths: `path`, `size` (bytes), `token` (version), `kind`.

        Of a few thousand rows each. Those that the job excludes, and those outside the prefix of the run, are
        left out. Lists the input where that was not done yet, and raises what a listing raises.
        """
        ...

    def objects(self, asked: Object) -> Iterator[pa.RecordBatch]:
        """The same with what the store says of each object: the columns of `media/object_facts/listed.py`.

        `asked` says what is requested where the listing does not have it. Raises what a listing and what
        `ask_facts` raise. For jobs with a source `object:` alone: other listings do not keep it.
        """
        ...

    def frames(self, videos: Iterable[str]) -> Iterator[FrameCount]:
        """When the frames of these videos are shown, one answer a video, in the order they are finished.

        A path that is no video of the job has no answer. Raises what `count_frames` raises.
        """
        ...

    def facts(self, kind: FactsKind) -> Iterator[pa.Table]:
        """The facts of all media of a kind, in batches of a few thousand in the order of paths.

        Each has the columns of `media/facts/rows.py:answer_schema`; its rows are in no order, and `at` counts
        from 0 over all batches. What earlier runs read is not read again. Raises what `read_facts` raises.
        """
        ...
