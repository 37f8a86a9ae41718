"""A web server that is out of order for a while, to show and to test what retries are for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def flaky_source(*, items: int, failures: int) -> Iterator[str]:
    """A web server on this machine which answers 503 to the first requests and then serves JSON. Yields its URL.

    Args:
        items: how many items it serves.
        failures: how many requests fail first.
    """
    left = [failures]
    content = json.dumps([{"id": number, "name": f"  Item  NUMBER {number} "} for number in range(items)]).encode()

    class Source(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if left[0] > 0:
                left[0] -= 1
                self.send_error(503, "Try again later")
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing: the demo's terminal shows the steps."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Source) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="flaky-source")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/items.json"
        finally:
            server.shutdown()
            thread.join()
