"""Names tracks from pictures of them, at once or beside the frames."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
import threading

from diffseg_ros.error_text import describe_error
from diffseg_ros.naming.base import Crop, NamingModel, NamingSettings
from diffseg_ros.naming.track_names import TrackNames
from diffseg_ros.naming.views import crops_of, tracks_to_view
from diffseg_ros.naming.vocabulary import Concept
from diffseg_ros.threads import yield_to_others
from diffseg_ros.types import Found, Frame, LabelImage, Match, Track


class TrackNamer:
    """
    Looks at a few tracks in every keyframe and names all of them.

    With `background` the model runs in a thread of its own, which frames do not wait for: while it
    is busy no pictures are taken.
    """

    def __init__(self, model: NamingModel, settings: NamingSettings, *,
                 background: bool = False) -> None:
        self._model = model
        self._settings = settings
        self._names = TrackNames(model, settings)
        self._lock = threading.Lock()
        self._thread = (ThreadPoolExecutor(1, 'diffseg_names', yield_to_others)
                        if background else None)
        self._job: Future[None] | None = None
        self._tracks: tuple[Track, ...] = ()
        self._query: tuple[str, Concept] | None = None
        self._failed, self._failure = 0, ''

    @property
    def report(self) -> dict[str, str]:
        """The model, words that it does not know, and pictures it failed at, for reports."""
        return {'naming_model': self._model.name,
                'naming_words_unknown': ', '.join(self._names.without_meaning),
                'naming_failed': str(self._failed), 'naming_failure': self._failure}

    def configure(self, settings: NamingSettings) -> None:
        """Apply changed settings; another vocabulary names all tracks anew."""
        with self._lock:
            self._names.configure(settings)
            self._settings = settings

    def reset(self) -> None:
        """Forget all names."""
        with self._lock:
            self._names = TrackNames(self._model, self._settings)
            self._tracks = ()

    def update(self, frame: Frame, labels: LabelImage, tracks: tuple[Track, ...], *,
               keyframe: bool) -> tuple[Track, ...]:
        """
        Return the tracks with their names.

        In a keyframe, pictures of some of them, by the (H, W) ids of its labels, are looked at.
        """
        if keyframe and (self._job is None or self._job.done()):
            with self._lock:
                self._names.observe(tracks)
                chosen = tracks_to_view(tracks, self._names.views, self._names.best,
                                        self._settings.budget)
            seen, crops = crops_of(frame.rgb, labels, chosen)
            if crops and self._thread is None:
                self._look(self._names, seen, crops)
            elif crops and self._thread is not None:
                self._job = self._thread.submit(self._look, self._names, seen, crops)
        with self._lock:
            self._tracks = tracks
            return tuple(self._named(track) for track in tracks)

    def find(self, words: str) -> Found:
        """
        Return how well the words fit each track that was looked at.

        Raises
        ------
        DiffsegError
            The model does not know the words.

        """
        with self._lock:
            concept = self._names.concept_of(words)
        return Found(words, self._ranked(concept))

    def look_for(self, words: str) -> None:
        """Look for these words from now on, or end that by ''; raises as `find`."""
        query = None
        if words.strip():
            with self._lock:
                query = words, self._names.concept_of(words)
            self._ranked(query[1])  # what the model makes of the words is known from here on
        self._query = query

    @property
    def found(self) -> Found | None:
        """What fits the words that are looked for."""
        query = self._query
        return None if query is None else Found(query[0], self._ranked(query[1]))

    def _ranked(self, concept: Concept) -> tuple[Match, ...]:
        with self._lock:
            tracks, (ids, embeddings) = self._tracks, self._names.embeddings
        scores = {track.id: 1.0 for track in tracks if track.kind and track.kind == concept.shape}
        if ids:
            found = self._model.scores(embeddings, [concept])[:, 0].tolist()
            scores = dict(zip(ids, found, strict=True)) | scores
        alive = {track.id for track in tracks}
        matches = (Match(*one) for one in scores.items() if one[0] in alive)
        return tuple(sorted(matches, key=lambda match: (-match.score, match.id)))

    def _look(self, names: TrackNames, tracks: Sequence[Track], crops: Sequence[Crop]) -> None:
        """Take what the model says of pictures; where it fails, they are counted."""
        try:
            embeddings = self._model.embed(crops)
            with self._lock:
                names.add(tracks, embeddings)
            self._failure = ''
        except Exception as error:
            self._failed += len(crops)
            self._failure = describe_error(error)

    def _named(self, track: Track) -> Track:
        name, score = self._names.name_of(track)
        return replace(track, name=name, name_score=score,
                       embedding=self._names.embedding(track.id)) if name else track
