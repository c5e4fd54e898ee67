"""An S3 server on this machine while tests last: moto's, in a process of its own, asked through its port.

Not in the lock of `make test-full`: s3fs needs botocore, which needs an older python-dateutil than the rest. In an
environment of their own: ``pip install "moto[s3]" flask flask-cors s3fs``, then ``pytest -m extras tests/core``.
"""

from __future__ import annotations

import atexit
import functools
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import fsspec

_PATIENCE = 60.0  # seconds that the server may take to start


@functools.cache
def environment() -> dict[str, str]:
    """Variables by which the usual libraries find the server; it is started by the first who asks."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port = some.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(server.kill)
    url, begin = f"http://127.0.0.1:{port}", time.monotonic()
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
            break
        except OSError:
            assert server.poll() is None, "moto's server ended by itself"
            assert time.monotonic() - begin < _PATIENCE, "moto's server does not answer"
            time.sleep(0.1)
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextmanager
def bucket() -> Iterator[str]:
    """URL of a new bucket, found by whatever runs inside."""
    with mock.patch.dict(os.environ, environment()):
        name = f"bucket-{uuid.uuid4().hex}"
        system = fsspec.filesystem("s3")
        system.mkdir(name)
        yield f"s3://{name}"
        system.rm(name, recursive=True)
