"""Many recordings on Ray, which reads the environment when it is imported."""

import os

os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
os.environ.setdefault('RAY_DEDUP_LOGS_SKIP_REGEX', '.')  # rows say why a worker ended
# While Ray waits for its first workers, Ctrl-C is not noticed.
os.environ.setdefault('RAY_prestart_worker_first_driver', '0')
