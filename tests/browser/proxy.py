"""A reverse proxy that serves a daemon below a path prefix, counts what it passes on, and notes requests outside."""

import collections
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PREFIX = "/some/prefix"
# These concern one connection, not the answer.
HOP = {"connection", "transfer-encoding", "keep-alive"}


class Proxy:
    """Use as a context; `address` ends with the prefix."""

    def __init__(self, origin):
        self.outside = []
        # Bytes of bodies by path, as sent.
        self.passed = collections.Counter()
        proxy, target = self, urlsplit(origin)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if not self.path.startswith(PREFIX + "/"):
                    proxy.outside.append(self.path)
                    self.send_error(404)
                    return
                upstream = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
                try:
                    upstream.request("GET", self.path.removeprefix(PREFIX), headers=headers)
                    answer = upstream.getresponse()
                    self.send_response(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in HOP | {"date", "server"}:
                            self.send_header(name, value)
                    self.send_header("Connection", "close")
                    self.end_headers()
                    path = urlsplit(self.path).path
                    # `read1` returns what there is, so that events pass at once.
                    while part := answer.read1(65536):
                        self.wfile.write(part)
                        self.wfile.flush()
                        proxy.passed[path] += len(part)
                except OSError:
                    # The browser or the daemon has closed its end.
                    pass
                finally:
                    self.close_connection = True
                    upstream.close()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}{PREFIX}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
