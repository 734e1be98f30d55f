"""A receiver of OTLP/HTTP that reads requests with OpenTelemetry's own classes.

It prints its port, and then for each request a line of JSON: the headers that matter, and every span in the form that
the classes give it. The first request is refused with 503 and Retry-After, which a sender must bear.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse


class Receiver(BaseHTTPRequestHandler):
    refused = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if not Receiver.refused:
            Receiver.refused = True
            self.send_response(503)
            self.send_header("retry-after", "0")
            self.end_headers()
            return
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        spans = []
        for resource in request.resource_spans:
            about = MessageToDict(resource.resource)
            for scope in resource.scope_spans:
                for span in scope.spans:
                    spans.append({
                        "resource": about, "trace_id": span.trace_id.hex(), "span_id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(), "name": span.name, "status": span.status.code,
                        "start": span.start_time_unix_nano, "end": span.end_time_unix_nano,
                        "attributes": {it.key: MessageToDict(it.value) for it in span.attributes},
                    })
        request.DiscardUnknownFields()
        unknown = request.SerializeToString() != body
        line = {"path": self.path, "type": self.headers["content-type"], "key": self.headers["api-key"],
                "spans": spans, "unknown": unknown}
        print(json.dumps(line), flush=True)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_) -> None:
        pass


def main() -> None:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
