"""
A vocabulary as the label space of Hydra and Khronos.

`python -m diffseg_ros.naming.label_space [FILE.yaml | WORD...] > label_space.yaml` writes it; the
arguments are those of the parameter `naming.vocabulary`, and without any it is the built-in list.
"""

from __future__ import annotations

import argparse
import sys

from diffseg_ros.errors import DiffsegError
from diffseg_ros.naming.vocabulary import load_vocabulary, UNKNOWN, Vocabulary
import yaml


def label_space(vocabulary: Vocabulary) -> str:
    """
    Return the YAML text that Hydra reads as its label space.

    Floors are ground and surfaces; what has no shape, and tables, are objects. What the vocabulary
    removes is invalid, so it is left out of the map; nothing is dynamic.
    """
    concepts = sorted(vocabulary.concepts, key=lambda concept: concept.id)
    floors = [concept.id for concept in concepts if concept.shape == 'floor']
    space = {
        'total_semantic_labels': concepts[-1].id + 1,
        'dynamic_labels': [],
        'invalid_labels': [concept.id for concept in concepts if concept.remove],
        'object_labels': [concept.id for concept in concepts
                          if concept.shape in ('', 'table') and not concept.remove],
        'surface_places_labels': floors,
        'ground_labels': [*floors],
        'label_names': [{'label': 0, 'name': UNKNOWN},
                        *({'label': concept.id, 'name': concept.name} for concept in concepts)]}
    return yaml.safe_dump(space, sort_keys=False, default_flow_style=None, allow_unicode=True)


def main(argv: list[str] | None = None) -> int:
    """Write the label space to stdout and return the exit code."""
    parser = argparse.ArgumentParser(prog='python -m diffseg_ros.naming.label_space',
                                     description='write a vocabulary as a label space of Hydra')
    parser.add_argument('vocabulary', nargs='*', metavar='FILE.yaml | WORD',
                        help='as naming.vocabulary; without any the built-in list')
    try:
        print(label_space(load_vocabulary(parser.parse_args(argv).vocabulary)), end='')
    except DiffsegError as error:
        print(f'{parser.prog}: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
