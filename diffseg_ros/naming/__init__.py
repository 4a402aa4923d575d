"""Names of tracks: pictures of them are compared with the words of a vocabulary."""
