"""The page, served by the project's own door, and the programs that drive it in Chromium."""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from clients.exported import Exported

from mobilebert_tf.serve_demo import ServeDemoConfig, server

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="session")
def chromium():
    """The browser's program. A missing one is a failure: make web is there to use it."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "no chromium on this machine (Debian: apt-get install chromium)"
    return found


@pytest.fixture(scope="session")
def address():
    """Of the page."""
    with server(ServeDemoConfig(port=0)) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        host, port = listening.server_address
        yield f"http://{host}:{port}/"
        listening.shutdown()


@pytest.fixture(scope="session")
def in_browser(chromium, address):
    """Runs a program of this folder on the page: its name and what it is given -> its JSON."""

    def run(program, given):
        done = subprocess.run(
            ["node", HERE / program, address],
            input=json.dumps(given),
            env=os.environ | {"CHROMIUM": chromium},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    return run
