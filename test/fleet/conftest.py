"""A store that speaks S3, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
import uuid

import pytest


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the URL of an empty bucket of an S3 server; s3fs finds it by the environment."""
    server = pytest.importorskip('moto.server', reason='moto is not installed')
    import s3fs

    running = server.ThreadedMotoServer('127.0.0.1', 0)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in {'AWS_ENDPOINT_URL': f'http://127.0.0.1:{port}',
                        'AWS_ACCESS_KEY_ID': 'any', 'AWS_SECRET_ACCESS_KEY': 'any',
                        'AWS_DEFAULT_REGION': 'us-east-1'}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f'bags-{uuid.uuid4()}'  # the servers of one process have their buckets in common
    s3fs.S3FileSystem().mkdir(bucket)
    yield f's3://{bucket}'
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()
