"""python -m mobilebert_tf.serve_demo: serves web_demo, the page that runs a .tflite file."""

import functools
import http.server
import socket
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError, check_number

_EVERYWHERE = ("", "0.0.0.0")  # hosts that listen at every address of the machine
_MODELS = "/model/"  # where the page finds the model that --model names
# With them a page may use threads; without, no browser gives it shared memory.
_ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class ServeDemoConfig:
    """What to serve, and where.

    Args:
        model: a .tflite file that the page opens at once; others are opened on the page.
        host: address to listen at; 0.0.0.0 also serves other devices, which get no threads without
            HTTPS.
        port: to listen at; 0 for any that is free.
        folder: web_demo, by default that of the project's checkout.
    """

    model: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    folder: str | None = None


def serve_demo(config: ServeDemoConfig) -> None:
    """Serves the page that runs .tflite files in a browser, until interrupted."""
    with server(config) as listening:
        query = ""
        if config.model:
            query = "?model=" + urllib.parse.quote(_MODELS[1:] + Path(config.model).name)
        for where, host in _addresses(config.host).items():
            print(f"http://{host}:{listening.server_port}/{query} ({where})", flush=True)
        try:
            listening.serve_forever()
        except KeyboardInterrupt:
            print("ended")


def _addresses(host: str) -> dict[str, str]:
    """Returns hosts that a browser can open, by what to say of them."""
    if host not in _EVERYWHERE:
        return {"Ctrl-C ends it": host}
    found = {"on this machine; Ctrl-C ends it": "127.0.0.1"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, but chooses where it would send from
        except OSError:  # no network, so there are no others
            return found
        return found | {"on other devices of its network": probe.getsockname()[0]}


def server(config: ServeDemoConfig) -> http.server.ThreadingHTTPServer:
    """Returns a server that listens already.

    Raises InputError if the page or the model is missing, or the address is taken.
    """
    check_number("port", config.port, 0, 65535)
    folder = _folder(config.folder)
    if config.model and not Path(config.model).is_file():
        raise InputError(f"no file {config.model}: export a model with export/to_tflite.py")
    handler = functools.partial(_Handler, directory=str(folder), model=config.model)
    try:
        return http.server.ThreadingHTTPServer((config.host, config.port), handler)
    except OSError as error:
        address = f"{config.host}:{config.port}"
        raise InputError(f"cannot listen at {address}: {error.strerror or error}") from None


def _folder(given: str | None) -> Path:
    """Returns the folder of the page. Raises InputError if it is missing or not complete."""
    beside = Path(__file__).parents[1] / "web_demo"  # of a checkout, not of an installed package
    folder = Path(given) if given else beside
    if not (folder / "index.html").is_file():
        raise InputError(
            f"no page in {folder}: the page is in web_demo of the project's checkout, not in the "
            "installed package; name that folder with `folder`"
        )
    if not (folder / "vendor").is_dir():
        raise InputError(
            f"{folder} has no LiteRT.js yet: run `npm ci --ignore-scripts && npm run vendor` there"
        )
    return folder


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the page, and the model under its name.

    Args:
        model: its path, or None.
    """

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *arguments, model: str | None, **keywords):
        self._model = model
        super().__init__(*arguments, **keywords)

    def translate_path(self, path: str) -> str:
        asked = urllib.parse.unquote(urllib.parse.urlsplit(path).path)
        if self._model and asked == _MODELS + Path(self._model).name:
            return self._model
        return super().translate_path(path)

    def list_directory(self, path):
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        for name, value in _ISOLATION.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *arguments) -> None:
        pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(serve_demo, ServeDemoConfig, arguments=arguments)


if __name__ == "__main__":
    main()
