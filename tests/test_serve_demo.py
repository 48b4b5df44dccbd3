"""serve_demo: the page's files with the headers that threads need, and one-line errors."""

import re
import threading
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer

import pytest

from mobilebert_tf.errors import InputError
from mobilebert_tf.serve_demo import ServeDemoConfig, serve_demo, server


@pytest.fixture
def folder(tmp_path):
    """A page of the demo's shape."""
    (tmp_path / "page" / "vendor").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text("<p>page")
    (tmp_path / "page" / "vendor" / "runtime.wasm").write_bytes(b"\0asm")
    (tmp_path / "page" / "vendor" / "runtime.js").write_text("1")
    return tmp_path / "page"


@pytest.fixture
def get(folder, tmp_path):
    """Asks a server for a path: its answer."""
    model = tmp_path / "my model.tflite"
    model.write_bytes(b"TFL3")
    with server(ServeDemoConfig(str(model), port=0, folder=str(folder))) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        host, port = listening.server_address
        yield lambda path: urllib.request.urlopen(f"http://{host}:{port}{path}")
        listening.shutdown()


@pytest.mark.parametrize(
    ("path", "kind", "content"),
    [
        ("/", "text/html", b"<p>page"),
        ("/vendor/runtime.js", "text/javascript", b"1"),
        ("/vendor/runtime.wasm", "application/wasm", b"\0asm"),
        ("/model/my%20model.tflite", "application/octet-stream", b"TFL3"),
    ],
)
def test_files(get, path, kind, content):
    answer = get(path)
    assert answer.read() == content
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize("path", ["/vendor/", "/model/other.tflite", "/../my%20model.tflite"])
def test_nothing_else(get, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(path)


def test_bad_input(folder, tmp_path):
    def refused(match, **config):
        with pytest.raises(InputError, match=match):
            server(ServeDemoConfig(**{"folder": str(folder), "port": 0} | config))

    refused("no file", model=str(tmp_path / "none.tflite"))
    refused("web_demo of the project's checkout", folder=str(tmp_path))
    refused("`port` is 70000", port=70000)
    with server(ServeDemoConfig(folder=str(folder), port=0)) as listening:
        refused("cannot listen at 127.0.0.1", port=listening.server_address[1])
    (folder / "vendor" / "runtime.js").unlink()
    (folder / "vendor" / "runtime.wasm").unlink()
    (folder / "vendor").rmdir()
    refused("npm run vendor")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", ""])
def test_every_printed_address_can_be_opened(host, folder, monkeypatch, capsys):
    serve_forever, opened = ThreadingHTTPServer.serve_forever, []

    def open_them(listening):
        threading.Thread(target=serve_forever, args=[listening], daemon=True).start()
        for address in re.findall(r"http://\S+", capsys.readouterr().out):
            assert urllib.request.urlopen(address).read() == b"<p>page"
            opened.append(address)
        listening.shutdown()

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", open_them)
    serve_demo(ServeDemoConfig(host=host, port=0, folder=str(folder)))
    assert opened[0].startswith("http://127.0.0.1:")
    assert not any("//0.0.0.0" in address or "//:" in address for address in opened)
