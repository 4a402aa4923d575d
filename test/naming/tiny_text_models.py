"""Small random models for pictures and text, written by save_pretrained as real ones are."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

SIDE = 64
_SMALL = {'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2,
          'num_attention_heads': 4}


def clip(folder: Path) -> Path:
    """Write a CLIP whose tokens are bytes."""
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(f'{letter}</w>' for letter in letters), '<|startoftext|>',
              '<|endoftext|>']
    ends = {'bos_token_id': len(tokens) - 2, 'eos_token_id': len(tokens) - 1}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(
        text_config={**_SMALL, **ends, 'vocab_size': len(tokens), 'max_position_embeddings': 77},
        vision_config={**_SMALL, 'image_size': SIDE, 'patch_size': 16},
        projection_dim=16)).save_pretrained(folder)
    CLIPImageProcessor(size={'shortest_edge': SIDE},
                       crop_size={'height': SIDE, 'width': SIDE}).save_pretrained(folder)
    (folder / 'vocab.json').write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / 'merges.txt').write_text('#version: 0.2\n')
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def siglip(folder: Path) -> Path:
    """Write a SigLIP whose tokens are bytes."""
    from tokenizers import decoders, models, pre_tokenizers, Tokenizer

    tokens = ['<pad>', '</s>', *bytes_to_unicode().values()]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    SiglipModel(SiglipConfig(
        text_config={**_SMALL, 'vocab_size': len(tokens), 'max_position_embeddings': 64,
                     'pad_token_id': 0, 'bos_token_id': 1, 'eos_token_id': 1,
                     'projection_size': 32},
        vision_config={**_SMALL, 'image_size': SIDE, 'patch_size': 16})).save_pretrained(folder)
    SiglipImageProcessor(size={'height': SIDE, 'width': SIDE}).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token='<pad>', eos_token='</s>',
                            model_max_length=64).save_pretrained(folder)
    return folder


FAMILIES = {'clip': clip, 'siglip': siglip}
