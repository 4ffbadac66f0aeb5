"""The receivers of tests/data/receivers on a socket of 127.0.0.1: each is one function, as people write them.

What it raises becomes a 500, as frameworks do it; a body that does not come in full is never shown to it.
"""

import runpy
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "data" / "receivers"

Receive = Callable[[str, Message, bytes], tuple[int, Mapping[str, str]]]


def sample(name: str, **values: object) -> Receive:
    """A sample receiver by its file's name. values: put in the place of its constants."""
    module = runpy.run_path(str(FOLDER / f"{name}.py"))
    receive: Receive = module["receive"]
    receive.__globals__.update(values)
    return receive


@contextmanager
def listening(receive: Receive, *, stalled_s: float = 10.0) -> Iterator[str]:
    """Serve it on a free port; gives its URL. stalled_s: how long a silent connection is kept."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = stalled_s

        def answer(self) -> None:
            if self.headers.get("Transfer-Encoding"):
                self.reply(411, {})
                return
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            if len(body) < length:  # the sender is gone
                self.close_connection = True
                return
            try:
                status, headers = receive(self.command, self.headers, body)
            except Exception:  # noqa: BLE001 — as a framework around it does
                status, headers = 500, {}
            self.reply(status, headers)

        def reply(self, status: int, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_OPTIONS = do_GET = do_PUT = do_DELETE = do_PATCH = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # connections that the sender broke off

    with Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hooks?a=1"
        finally:
            server.shutdown()
            thread.join()
