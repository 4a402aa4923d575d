"""CLIP and SigLIP by the real loading code: arithmetic as transformers', and what is refused."""

from __future__ import annotations

import os
import shutil

from diffseg_ros.backbones.hub import files_to_download
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.naming.base import Crop
from diffseg_ros.naming.loader import load_naming_model
from diffseg_ros.naming.vocabulary import Concept
import huggingface_hub
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_text_models import FAMILIES
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, BertConfig, BertModel

BACKBONE = BackboneConfig(device='cpu')


@pytest.fixture(scope='module', params=FAMILIES)
def folder(request, tmp_path_factory):
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param) / 'model')


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / 'model')


def crops(count):
    rng = np.random.default_rng(0)
    return [Crop(rng.integers(0, 255, (40 + 9 * i, 60, 3), np.uint8),
                 np.ones((40 + 9 * i, 60), bool)) for i in range(count)]


def test_scores_are_those_of_transformers_itself(folder):
    words = ['a chair', 'a table by the door', 'x']
    model, pictures = load_naming_model(str(folder), BACKBONE), crops(3)
    inputs = AutoImageProcessor.from_pretrained(folder)(
        images=[crop.rgb for crop in pictures], return_tensors='pt')
    length = AutoModel.from_pretrained(folder).config.text_config.max_position_embeddings
    padding = 'max_length' if 'siglip' in str(folder) else 'longest'
    tokens = AutoTokenizer.from_pretrained(folder)(words, padding=padding, truncation=True,
                                                   max_length=length, return_tensors='pt')
    with torch.inference_mode():
        wanted = AutoModel.from_pretrained(folder)(**inputs, **tokens)
    found = model.logits(model.embed(pictures), model.embed_text(words))
    np.testing.assert_allclose(found, wanted.logits_per_image, atol=1e-4, rtol=1e-4)


def test_a_concept_is_the_best_of_its_words_over_the_mean_of_its_templates(folder):
    model = load_naming_model(str(folder), BACKBONE)
    concepts = [Concept(name='cup', synonyms=('mug',), templates=('{}', 'one {}')),
                Concept(name='tree', templates=('{}',))]
    embeddings = model.embed(crops(2))
    scores = model.scores(embeddings, concepts)
    assert scores.shape == (2, 2) and (scores >= 0).all() and (scores.sum(axis=1) < 1).all()

    def text(sentences):
        mean = model.embed_text(sentences).mean(axis=0)
        return mean / np.linalg.norm(mean)

    words = np.stack([text(['cup', 'one cup']), text(['mug', 'one mug']), text(['tree'])])
    logits = model.logits(embeddings, words)
    ratio = np.exp(logits[:, :2].max(axis=1) - logits[:, 2])
    np.testing.assert_allclose(scores[:, 0] / scores[:, 1], ratio, rtol=1e-4)
    # Means of embeddings over views are no longer of length 1; their direction counts.
    np.testing.assert_allclose(model.scores(embeddings * 0.5, concepts), scores, rtol=1e-5)


def test_surroundings_are_dimmed_and_the_track_is_not(folder):
    model = load_naming_model(str(folder), BACKBONE)
    rgb = np.full((40, 60, 3), 250, np.uint8)
    whole, half = np.ones((40, 60), bool), np.zeros((40, 60), bool)
    half[:, :30] = True
    grey = np.where(half[..., None], rgb, np.uint8(188))
    seen, same, wanted = model.embed([Crop(rgb, half), Crop(rgb, whole), Crop(grey, whole)])
    assert seen @ wanted > max(0.99, seen @ same)


def test_long_text_is_cut_rather_than_refused(folder):
    model = load_naming_model(str(folder), BACKBONE)
    assert np.isfinite(model.embed_text(['chair ' * 200])).all()


def refusal(name, **backbone):
    with pytest.raises(DiffsegError) as caught:
        load_naming_model(str(name), BACKBONE.replace(**backbone))
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('spoil', [
    lambda model: (model / 'config.json').unlink(),
    lambda model: (model / 'config.json').write_text('{'),
    lambda model: (model / 'model.safetensors').unlink(),
    lambda model: os.truncate(model / 'model.safetensors', 1000),
    lambda model: (model / 'preprocessor_config.json').unlink(),
], ids=['no config', 'broken config', 'no weights', 'cut weights', 'no processor'])
def test_a_broken_folder_is_refused_in_one_line(copied, spoil):
    spoil(copied)
    assert refusal(copied).startswith(f'model folder {copied}: cannot be loaded (')


def test_pickled_weights_are_not_taken(copied):
    model = AutoModel.from_pretrained(copied)
    (copied / 'model.safetensors').unlink()
    torch.save(model.state_dict(), copied / 'pytorch_model.bin')
    assert 'safetensors' in refusal(copied)


def test_a_model_without_text_is_refused_by_name(tmp_path):
    BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=16, vocab_size=50)).save_pretrained(tmp_path / 'bert')
    assert 'a BertModel has no embeddings of text; give a model such as CLIP' in refusal(
        tmp_path / 'bert')


def test_a_name_that_is_nothing_says_what_can_be_given():
    assert 'no such folder; give imagenet, or the folder or the hub id' in refusal('nothing here')


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def test_a_hub_id_is_downloaded_only_when_allowed(cache, monkeypatch):
    def no_network(*_, **__):
        raise AssertionError('the network was asked')

    monkeypatch.setattr(huggingface_hub, 'HfApi', no_network)
    line = refusal('someone/clip')
    assert 'Set backbone.allow_download' in line
    assert "download('someone/clip')" in line


def test_a_cached_hub_id_is_used_without_the_network(cache, folder):
    home = cache / 'models--someone--clip'
    (home / 'refs').mkdir(parents=True)
    (home / 'refs' / 'main').write_text('a' * 40)
    shutil.copytree(folder, home / 'snapshots' / ('a' * 40))
    assert load_naming_model('someone/clip', BACKBONE).embed(crops(1)).shape[0] == 1


@pytest.mark.parametrize(('error', 'wanted'), [
    (lambda: huggingface_hub.errors.GatedRepoError('403', response=_response()), 'gated'),
    (lambda: ConnectionError('no route to host'), 'its download failed (no route to host)'),
])
def test_a_gated_id_and_a_missing_network_are_told(cache, monkeypatch, error, wanted):
    class Api:
        def list_repo_files(self, *_, **__):
            raise error()

    monkeypatch.setattr(huggingface_hub, 'HfApi', Api)
    assert wanted in refusal('someone/clip', allow_download=True)


def _response():
    import httpx2
    return httpx2.Response(403, request=httpx2.Request('GET', 'https://example.org'))


def test_only_what_a_model_needs_is_downloaded():
    names = ['README.md', 'config.json', 'model.safetensors', 'pytorch_model.bin', 'vocab.json',
             'merges.txt', 'spiece.model', 'onnx/model.onnx', 'onnx/config.json', 'photo.jpg',
             'preprocessor_config.json', 'tokenizer.json']
    assert files_to_download(names) == [
        'config.json', 'merges.txt', 'model.safetensors', 'preprocessor_config.json',
        'spiece.model', 'tokenizer.json', 'vocab.json']
    with pytest.raises(DiffsegError, match='only pickled weights'):
        files_to_download(['config.json', 'pytorch_model.bin'])


def test_weights_that_lack_tensors_are_refused(copied):
    tensors = load_file(copied / 'model.safetensors')
    tensors.pop(next(name for name in tensors if name.startswith('text_model.encoder')))
    save_file(tensors, copied / 'model.safetensors', {'format': 'pt'})
    assert 'weights lack 1 tensors' in refusal(copied)
