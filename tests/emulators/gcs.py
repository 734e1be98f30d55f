"""The calls of Google Cloud Storage's JSON API that the pipeline needs, using only the standard library."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import quote, urlencode

TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Packing:
    """Metadata of an object that describe how its body is packed."""

    content_type: str
    content_encoding: str | None = None


PLAIN = Packing("application/x-ndjson")
GZIP_FILE = Packing("application/gzip")
# Text that is stored as gzip. A client that does not accept gzip gets the text.
GZIP_ENCODED = Packing("application/x-ndjson", "gzip")


class Gcs:
    """One bucket."""

    def __init__(self, url: str, bucket: str) -> None:
        self.url, self.bucket = url, bucket
        self._objects = f"/storage/v1/b/{bucket}/o"

    def is_up(self) -> bool:
        try:
            return self.call("/_internal/healthcheck")[0] == 200
        except OSError:
            return False

    def create_bucket(self) -> None:
        body = json.dumps({"name": self.bucket}).encode()
        self._expect(200, self.call("/storage/v1/b?project=test", body, {"Content-Type": "application/json"}))

    def put(self, name: str, body: bytes, packing: Packing) -> dict:
        """Stores an object under any name and returns its metadata."""
        query = {"uploadType": "media", "name": name}
        if packing.content_encoding:
            query["contentEncoding"] = packing.content_encoding
        path = f"/upload{self._objects}?{urlencode(query, quote_via=quote, safe='')}"
        return json.loads(self._expect(200, self.call(path, body, {"Content-Type": packing.content_type})))

    def list(self, prefix: str, start_offset: str = "", page_size: int = 1_000):
        """The metadata of all objects with this prefix, from the name `start_offset` on."""
        token = None
        while True:
            query = {"prefix": prefix, "startOffset": start_offset, "maxResults": page_size}
            if token:
                query["pageToken"] = token
            page = json.loads(self._expect(200, self.call(f"{self._objects}?{urlencode(query, quote_via=quote)}")))
            yield from page.get("items", [])
            token = page.get("nextPageToken")
            if not token:
                return

    def get(self, name: str, generation: str | None = None, headers: dict | None = None) -> bytes:
        """The body of an object; as stored, unless `headers` change that."""
        query = {"alt": "media", **({"generation": generation} if generation else {})}
        answer = self.call(self.path(name, query), headers=headers or {"Accept-Encoding": "gzip"})
        return self._expect(200, answer)

    def path(self, name: str, query: dict) -> str:
        return f"{self._objects}/{self.encoded(name)}?{urlencode(query)}"

    @staticmethod
    def encoded(name: str) -> str:
        """A name, encoded as one path segment or query value."""
        return quote(name, safe="")

    def call(self, path: str, body: bytes | None = None, headers: dict | None = None) -> tuple[int, dict, bytes]:
        """Returns status, headers with lower-case names, and body. Sends POST if there is a body."""
        request = urllib.request.Request(self.url + path, body, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {key.lower(): value for key, value in error.headers.items()}, error.read()

    @staticmethod
    def _expect(status: int, answer: tuple[int, dict, bytes]) -> bytes:
        if answer[0] != status:
            raise RuntimeError(f"Cloud Storage answered {answer[0]}: {answer[2][:500]!r}")
        return answer[2]
