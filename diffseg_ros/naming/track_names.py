"""What pictures of tracks have said so far, and the names that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffseg_ros.errors import DiffsegError
from diffseg_ros.naming.base import Embeddings, NamingModel, NamingSettings
from diffseg_ros.naming.vocabulary import Concept, load_vocabulary, UNKNOWN, Vocabulary
from diffseg_ros.types import SegmentKind, Track
import numpy as np
import numpy.typing as npt


@dataclass
class _Record:
    """
    The pictures of one track.

    Attributes
    ----------
    total, weight
        Sum of the (D,) embeddings, weighted by their pixels, and that of the weights.
    embedding
        (D,) mean of them; it is asked for in every frame.
    views, best
        Number of pictures, and the pixels of the best.
    name, score
        Its name, '' before the first picture, and the probability of that, 0 to 1.
    rival, held
        Another name that is more likely now, and for how many pictures it is.

    """

    total: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    weight: float = 0.0
    views: int = 0
    best: int = 0
    name: str = ''
    score: float = 0.0
    rival: str = ''
    held: int = 0

    def add(self, embedding: npt.NDArray[np.float32], pixels: int) -> None:
        """Take a picture that shows so many pixels of the track."""
        self.total += pixels * embedding
        self.weight += pixels
        self.embedding = self.total / np.float32(self.weight)
        self.views += 1
        self.best = max(self.best, pixels)


class TrackNames:
    """
    Embeddings of tracks, means over their pictures, and their names.

    The mean stays when the vocabulary changes: tracks get new names without new pictures.
    """

    def __init__(self, model: NamingModel, settings: NamingSettings) -> None:
        self._model = model
        self._records: dict[int, _Record] = {}
        self._shapes: dict[int, SegmentKind] = {}
        self._configure(settings)

    @property
    def views(self) -> dict[int, int]:
        """How many pictures of each id there were."""
        return {identity: record.views for identity, record in self._records.items()}

    @property
    def best(self) -> dict[int, int]:
        """The pixels of the best picture of each id."""
        return {identity: record.best for identity, record in self._records.items()}

    @property
    def without_meaning(self) -> list[str]:
        """The names that the model does not know, but for those of surfaces."""
        return self._model.without_meaning([concept for concept in self._vocabulary.concepts
                                            if not concept.shape])

    @property
    def embeddings(self) -> tuple[list[int], Embeddings]:
        """The N ids with pictures and their (N, D) mean embeddings."""
        rows = [record.embedding for record in self._records.values()]
        return list(self._records), np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def embedding(self, identity: int) -> npt.NDArray[np.float32] | None:
        """Return the (D,) mean embedding of an id, None without a picture."""
        record = self._records.get(identity)
        return record.embedding if record else None

    def configure(self, settings: NamingSettings) -> None:
        """Apply changed settings; a changed vocabulary names all tracks anew."""
        before = self._vocabulary
        self._configure(settings)
        if self._vocabulary != before and self._records:
            scores = self._model.scores(self.embeddings[1], self._vocabulary.concepts)
            for record, row in zip(self._records.values(), scores, strict=True):
                record.name, record.score = self._most_likely(row)
                record.rival, record.held = '', 0

    def _configure(self, settings: NamingSettings) -> None:
        self._settings = settings
        self._vocabulary: Vocabulary = load_vocabulary(settings.vocabulary)

    def add(self, tracks: Sequence[Track], embeddings: Embeddings) -> None:
        """Take the (N, D) embeddings of pictures of N tracks."""
        records = [self._records.setdefault(track.id, _Record(np.zeros_like(row), row))
                   for track, row in zip(tracks, embeddings, strict=True)]
        for track, record, row in zip(tracks, records, embeddings, strict=True):
            record.add(row, track.pixels)
        means = np.stack([record.embedding for record in records])
        found = self._model.scores(means, self._vocabulary.concepts)
        for record, scores in zip(records, found, strict=True):
            self._judge(record, *self._most_likely(scores))

    def observe(self, tracks: Sequence[Track]) -> None:
        """Note which surface each track is by its shape, and forget the tracks that are gone."""
        shapes = {track.id: track.kind for track in tracks
                  if track.kind in self._vocabulary.by_shape}
        alive = {track.id for track in tracks}
        self._shapes = {identity: shape for identity, shape in (self._shapes | shapes).items()
                        if identity in alive}
        self._records = {identity: record for identity, record in self._records.items()
                         if identity in alive}

    def name_of(self, track: Track) -> tuple[str, float]:
        """
        Return a track's name and its probability; '' where there is nothing to tell it by.

        A surface is named by its shape, also where that is not clear for a while. Once it looks
        like an object, what pictures say comes first.
        """
        record = self._records.get(track.id)
        shape = self._shapes.get(track.id, track.kind)
        surface = self._vocabulary.by_shape.get(shape)
        if record is not None and (surface is None or self._shape(record.name) == shape or (
                track.kind is SegmentKind.OBJECT and record.name != UNKNOWN)):
            return record.name, record.score
        return (surface.name, 1.0) if surface else ('', 0.0)

    def concept_of(self, words: str) -> Concept:
        """Return what the words mean; raise DiffsegError if the model does not know them."""
        concept = self._vocabulary.called(words) or Concept(name=words)
        if self._model.without_meaning([concept]) and not concept.shape:
            raise DiffsegError(f'{words!r}: {self._model.name} does not know what that is; give '
                               'another word for it')
        return concept

    def _most_likely(self, scores: npt.NDArray[np.float32]) -> tuple[str, float]:
        """Return the most likely name and its score, UNKNOWN where another is about as likely."""
        order = np.argsort(scores)[::-1]
        best = float(scores[order[0]])
        second = float(scores[order[1]]) if len(order) > 1 else 0.0
        if best - second < self._settings.margin:
            return UNKNOWN, 1 - best
        return self._vocabulary.concepts[int(order[0])].name, best

    def _judge(self, record: _Record, name: str, score: float) -> None:
        """Change the name where another was more likely in enough pictures in a row."""
        if name != record.name:
            record.held = record.held + 1 if name == record.rival else 1
            record.rival = name
            if record.name and record.held < self._settings.hold:
                return
        record.name, record.score, record.rival, record.held = name, score, '', 0

    def _shape(self, name: str) -> SegmentKind:
        concept = self._vocabulary.by_name.get(name)
        return SegmentKind(concept.shape) if concept else SegmentKind.UNKNOWN
