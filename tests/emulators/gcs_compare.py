"""Lists the differences between the sandbox's Google Cloud Storage and fake-gcs-server.

It starts a fake-gcs-server, copies objects of the sandbox's bucket into it, sends the same requests to both, and prints
the differences. It does not decide which is right: the sandbox follows the documentation of the service, and README.md
lists where the emulator does not.

usage: gcs_compare.py ADMIN_URL, the address of the admin listener of a running sandbox
       (`traceprobe demo` prints it; wait until it has copied some objects)
"""

import json
import sys
import tempfile
import urllib.request
from pathlib import Path

from gcs import Gcs, Packing
from processes import Child, Port

BUCKET = "gcp-transit"
OBJECTS = 6
# Other headers and fields differ by server or by write.
HEADERS = ("content-type", "content-length", "content-encoding", "content-range", "x-goog-stored-content-encoding")
FIELDS = ("name", "size", "contentType", "contentEncoding", "md5Hash", "storageClass", "kind", "bucket")


def main() -> int:
    with urllib.request.urlopen(f"{sys.argv[1]}/endpoints", timeout=5) as answer:
        sandbox = Gcs(json.load(answer)["gcs"], BUCKET)
    port = Port()
    home = Path(tempfile.mkdtemp(prefix="traceprobe-gcs-"))
    child = Child("gcs", "gcs_launcher.py", [str(port.number)], home, {})
    emulator = Gcs(f"http://127.0.0.1:{port.number}", BUCKET)
    child.start()
    try:
        child.wait_until(emulator.is_up, 30)
        return compare(sandbox, emulator)
    finally:
        child.stop()


def compare(sandbox: Gcs, emulator: Gcs) -> int:
    # The newest are left out, because others may be added between them while this runs.
    items = list(sandbox.list("transfer/"))
    if len(items) < 3 * OBJECTS:
        sys.exit(f"there are only {len(items)} objects in the sandbox; wait a little")
    items = items[:OBJECTS + 1]
    emulator.create_bucket()
    for item in items:
        packing = Packing(item["contentType"], item.get("contentEncoding"))
        emulator.put(item["name"], sandbox.get(item["name"], item["generation"]), packing)
    differences = 0
    for what, path, headers in requests([item["name"] for item in items]):
        ours, theirs = (comparable(bucket.call(path, headers=headers)) for bucket in (sandbox, emulator))
        for aspect in ours:
            if ours[aspect] != theirs[aspect]:
                differences += 1
                print(f"{what}: {aspect}\n    sandbox  {ours[aspect]}\n    emulator {theirs[aspect]}")
    print(f"{differences} differences")
    return 0


def requests(names: list[str]):
    """Yields description, path and headers of each request."""
    first = Gcs.encoded(names[0])
    bounds = f"startOffset={first}&endOffset={Gcs.encoded(names.pop())}"
    objects = f"/storage/v1/b/{BUCKET}/o"
    yield "list", f"{objects}?{bounds}&prefix=transfer/", {}
    yield "list, pages of two", f"{objects}?{bounds}&maxResults=2", {}
    yield "list, fields", f"{objects}?{bounds}&fields=items(name,size)", {}
    yield "list, a field that is not there", f"{objects}?fields=items/nom", {}
    yield "list, nothing", f"{objects}?prefix=nothing/", {}
    yield "list, maxResults=0", f"{objects}?{bounds}&maxResults=0", {}
    yield "list, maxResults=x", f"{objects}?maxResults=x", {}
    yield "list, an invalid page token", f"{objects}?prefix=nothing/&pageToken=zz", {}
    yield "list, no such bucket", "/storage/v1/b/no-such-bucket/o", {}
    for name in names:
        path = f"{objects}/{Gcs.encoded(name)}"
        yield f"get {name}", path, {}
        for accepted in ("gzip", "identity"):
            for span in (None, "bytes=0-9", "bytes=999999-", "bytes=-5", "nonsense"):
                headers = {"Accept-Encoding": accepted, **({"Range": span} if span else {})}
                yield f"media of {name}, {headers}", f"{path}?alt=media", headers
    path = f"{objects}/{first}"
    yield "get, generation 1", f"{path}?generation=1", {}
    for query in ("generation=1", "generation=x", "ifGenerationMatch=1", "ifGenerationNotMatch=1"):
        yield f"media, {query}", f"{path}?alt=media&{query}", {}
    yield "media by /download", f"/download{path}?alt=media", {}
    yield "get, no such object", f"{objects}/nothing", {}
    yield "media, no such object", f"{objects}/nothing?alt=media", {}
    yield "media, slashes not encoded", f"{objects}/{first.replace('%2F', '/')}?alt=media", {}


def comparable(answer: tuple[int, dict, bytes]) -> dict:
    status, headers, body = answer
    is_json = headers.get("content-type", "").startswith("application/json")
    document = json.loads(body) if is_json and body else None
    about = {"status": status, **{name: headers.get(name) for name in HEADERS}}
    if document is None:
        return {**about, "body": body[:60]}
    # The length of a JSON document differs with its formatting.
    about["content-length"] = None
    about["content-type"] = "JSON"
    if "error" in document:
        error = document["error"]
        return {**about, "body": (error["code"], error["message"], error["errors"][0]["reason"])}
    items = [{key: item.get(key) for key in FIELDS} for item in document.get("items", [document])]
    return {**about, "body": (items, sorted(set(document) - {"selfLink"}) if "items" in document else None)}


if __name__ == "__main__":
    sys.exit(main())
