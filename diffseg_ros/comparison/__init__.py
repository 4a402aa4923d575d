"""What changed between two replays of one recording, as figures and as a page to look at."""
