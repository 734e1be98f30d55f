#!/usr/bin/env python3
"""Writes the corpus of the fuzz targets: about a dozen inputs for each, from the decoders' fixtures and by hand.

    tests/fuzz/corpus.py

Files whose names begin with `found-` are inputs that once failed; they are kept as they are.
"""

import base64
import bz2
import functools
import gzip
import hashlib
import hmac
import json
import struct
import zlib
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
ROOT = HERE.parent.parent
FIXTURES = ROOT / "src/observe/decode/fixtures"
KEY = b"0123456789abcdef"
PLANNED_MS = 1_795_321_781_123
DIGITS = "0123456789abcdefghijklmnopqrstuv"


def base32hex(value: int, digits: int) -> str:
    return "".join(DIGITS[value >> 5 * at & 31] for at in reversed(range(digits)))


def prefix(text: str, bits: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 64 - bits


def tag(tenant: str = "acme", n: int = 1, size: int = 500, version: int = 2, key: bytes = KEY) -> str:
    """The tag that `world::tag` makes."""
    time = PLANNED_MS.to_bytes(6, "big")
    random = bytes([n & 0x0f | 0x70, n, n & 0x3f | 0x80]) + bytes([n] * 7)
    code = base32hex(prefix(tenant, 40), 8)
    text = f"zqtp{version}" + (time + random).hex() + (code if version == 2 else code[:4])
    text += base32hex(prefix("probe-1", 20), 4) + base32hex(size, 4) + ("0" if version == 2 else "")
    mac = hmac.digest(key, f"traceprobe tag {version}\0".encode() + text.encode(), "sha256")
    return text + base32hex(int.from_bytes(mac[:8], "big") >> 4, 12)


TAG = tag()
CANARY = (FIXTURES / "version-1.ndjson").read_text().splitlines()[1]
LINE = json.dumps({"trace_id": TAG, "level": "INFO", "message": "order 4711 was paid"})
TEXT = f'{{"level":"INFO"}}\n{CANARY}\n{LINE}\n'.encode()
ENVELOPE = json.dumps({"messageType": "DATA_MESSAGE", "logGroup": "/ecs/acme", "logEvents": [
    {"id": "38", "timestamp": 1, "message": line} for line in (CANARY, "GET / 200", LINE)]}).encode()


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(*records: bytes) -> bytes:
    """The message of a KPL aggregate."""
    inner = [varint(1 << 3) + varint(0) + field(3, data) for data in records]
    return field(1, b"key") + b"".join(field(3, record) for record in inner)


def aggregate(*records: bytes) -> bytes:
    body = message(*records)
    return b"\xf3\x89\x9a\xc2" + body + hashlib.md5(body).digest()


def zstd_raw(*blocks: bytes, last: bool = True, tail: bytes = b"") -> bytes:
    """A zstd frame of blocks that are not compressed (RFC 8878, section 3.1.1)."""
    frame = b"\x28\xb5\x2f\xfd\x00\x58"
    for at, block in enumerate(blocks):
        ends = last and at == len(blocks) - 1
        frame += (len(block) << 3 | ends).to_bytes(3, "little") + block
    return frame + tail


def flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1:]


def worse(data: bytes) -> dict[str, bytes]:
    """A stream torn, damaged, and with something after it."""
    half = len(data) // 2
    return {"torn": data[:half], "torn-late": data[:-1], "head": data[:11], "damaged-head": flipped(data, 5),
            "damaged": flipped(data, half), "damaged-late": flipped(data, -3), "twice": data * 2,
            "then-garbage": data + b"\x00\xff garbage", "then-text": data + LINE.encode()}


def decode() -> dict[str, bytes]:
    """Few, because every file of the decoders' own tests is an input as well."""
    tags = [tag("acme", 1), tag("acme", 2), tag("globex", 3), tag("initech", 4), tag(version=1), tag(key=b"x" * 16)]
    packed = gzip.compress(TEXT, mtime=0)
    text64 = base64.b64encode(TEXT).decode()
    json_lines = [json.dumps(json.dumps(LINE)), json.dumps({"log": LINE + "\n" + LINE + "\n"}), json.dumps([LINE, CANARY]),
                  LINE + LINE, "}{" * 99 + LINE + "},{" * 99, "\\" * 300 + LINE, ENVELOPE.decode()]
    base64_lines = [json.dumps({"data": text64}), json.dumps({"data": base64.urlsafe_b64encode(packed).decode()}),
                    base64.b64encode(text64.encode()).decode(), base64.encodebytes(packed).decode(),
                    base64.b64encode(packed)[:-5].decode()]
    return {
        "json": "\n".join(json_lines).encode(),
        "tags": "\n".join([" ".join(tags), "".join(tags), TAG * 60, TAG.upper(), TAG[:-1]]).encode(),
        "base64": "\n".join(base64_lines).encode(),
        "envelope-gzip": gzip.compress(ENVELOPE, mtime=0),
        "gzip-in-base64-in-gzip": gzip.compress(base64.b64encode(packed), mtime=0),
        "gzip-of-empties-then-text": gzip.compress(b"", mtime=0) * 20 + packed + LINE.encode(),
        "gzip-nested-too-deep": functools.reduce(lambda data, _: gzip.compress(data, mtime=0), range(12), TEXT),
        "gzip-torn": packed[:-20],
        "kpl": aggregate(packed, b"", LINE.encode(), aggregate(CANARY.encode()), *[b"\x28\xb5\x2f\xfd"] * 50, packed),
        "kpl-with-wrong-sum": aggregate(LINE.encode())[:-1] + b"\x00",
        "bomb": gzip.compress(bytes(2 << 20), mtime=0),
        "bomb-of-base64": gzip.compress(base64.b64encode(gzip.compress(b"A" * 300_000, mtime=0)), mtime=0),
        "utf16": ("\ufeff" + LINE).encode("utf-16-le"),
        "binary": bytes(range(256)) + LINE.encode() + bytes(range(256)),
        "found-zstd-garbage-after-good-blocks": zstd_raw(TEXT, last=False, tail=b"\xff\xff\xff garbage"),
    }


def codecs() -> dict[str, dict[str, bytes]]:
    fixture = lambda name: (FIXTURES / name).read_bytes()
    streams = {
        "gzip": gzip.compress(TEXT, mtime=0), "zlib": zlib.compress(TEXT), "bzip2": bz2.compress(TEXT),
        "zstd": fixture("zstd"), "lz4": fixture("lz4"), "lz4_legacy": fixture("lz4-legacy"),
        "snappy_framed": fixture("snappy-framed"), "snappy_hadoop": fixture("snappy-hadoop"),
        "snappy_xerial": fixture("snappy-xerial"),
    }
    more = {
        "gzip": {"stored": gzip.compress(TEXT, 0, mtime=0), "bomb": gzip.compress(bytes(2 << 20), mtime=0),
                 "named": b"\x1f\x8b\x08\x1c\0\0\0\0\0\xff\x03\0\x01\x02\x03a\0b\0" + zlib.compress(b"x")[2:]},
        "zlib": {"level-0": zlib.compress(TEXT, 0), "bomb": zlib.compress(bytes(2 << 20), 9)},
        "bzip2": {"bomb": bz2.compress(bytes(2 << 20)), "small-blocks": bz2.compress(TEXT * 3, 1)},
        "zstd": {"rle": b"\x28\xb5\x2f\xfd\x00\x58" + (200_000 << 3 | 3).to_bytes(3, "little") + b"a",
                 "frames": fixture("zstd-after-skippable") + fixture("zstd-frames"),
                 "found-garbage-after-good-blocks": zstd_raw(TEXT, last=False, tail=b"\xff\xff\xff garbage"),
                 "found-garbage-after-a-short-block": zstd_raw(b"abcd", last=False, tail=b"\x07\0\0")},
        "snappy_framed": {"found-empty-padding": b"\xff\x06\0\0sNaPpY\xfe\0\0\0" + fixture("snappy-framed")},
        "lz4": {"linked": fixture("lz4-linked-blocks"), "checksums": fixture("lz4-with-checksums"),
                "found-empty-block": b"\x04\x22\x4d\x18\x60\x40\x82" + (1 << 31).to_bytes(4, "little") * 2 + bytes(4)},
    }
    return {f"codec_{name}": worse(stream) | more.get(name, {}) for name, stream in streams.items()}


def kpl() -> dict[str, bytes]:
    whole = message(b"first", LINE.encode(), gzip.compress(TEXT, mtime=0))
    unknown = b"\x09" + bytes(8) + b"\x15" + bytes(4) + field(3, field(3, b"a") + field(3, LINE.encode()))
    return worse(whole) | {
        "unknown-fields": unknown + whole, "groups": b"\x1b\x1c" + whole, "of-empties": message(*[b""] * 40),
        "endless-varint": b"\xff" * 12, "long-field": b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "heads": message(*[b"\x28\xb5\x2f\xfd"] * 60),
    }


def tags() -> dict[str, bytes]:
    return {
        "version-2": TAG.encode(), "version-1": tag(version=1).encode(), "foreign": tag(key=b"x" * 16).encode(),
        "largest-size": tag("globex", 2, (1 << 20) - 1).encode(), "upper-case": TAG.upper().encode(),
        "in-a-line": LINE[LINE.index("zqtp"):].encode(), "torn": TAG[:40].encode(), "one-short": TAG[:-1].encode(),
        "version-1-of-2": b"zqtp1" + TAG[5:].encode(), "version-3": b"zqtp3" + TAG[5:].encode(),
        "wrong-digit": flipped(TAG.encode(), 20), "purpose-9": TAG[:53].encode() + b"9" + TAG[54:].encode(),
        "wrong-signature": TAG[:-1].encode() + b"w", "not-utf8": TAG[:30].encode() + b"\xff" + TAG[31:].encode(),
    }


def templates() -> dict[str, bytes]:
    texts = {"hive": "archive/tenant=acme/dt=%Y-%m-%d/hour=%H/", "constant": "transit/", "empty": "", "no-padding": "a/%-H-%M/",
             "digits": "%Y%m%d%H%M%S%s", "weeks": "%j-%U-%u %G-W%V", "names": "%T %c %x%X %^B %p %I %C%y", "fractions": "%3q%.3f%N",
             "width": "%5Y%_d%e", "zones": "%:z%+%Q", "percent": "%%/%H%", "not-ascii": "%é/%-"}
    inputs = {name: struct.pack("<qH", 1_795_321_799_000_000, 2) + text.encode() for name, text in texts.items()}
    instants = {"latest": 2**63 - 1, "earliest": -2**63, "last-year": 253_402_300_799_000_000}
    return inputs | {name: struct.pack("<qH", at, 63) + b"%Y/%m/%d/%H/" for name, at in instants.items()}


CONFIGURATION = """[probe]
slo = "30s"
[aws]
region = "eu-central-1"
[[tenant]]
name = "acme"
log_group = "/acme"
[[tenant]]
name = "globex"
log_group = "/globex"
interval = "1m"
[[stage]]
name = "stream"
kind = "kinesis"
stream = "logs-{tenant}"
[[stage]]
name = "archive"
kind = "s3"
after = "stream"
bucket = "archive"
key = "{tenant}/%Y/%m/%d/"
[[stage]]
name = "copy"
kind = "gcs"
after = "archive"
bucket = "copies"
key = "%Y/%m/%d/{tenant}-"
[[stage]]
name = "group"
kind = "cloudwatch_logs"
after = "stream"
log_group = "/forwarded"
dead_letter = true
[[stage]]
name = "table"
kind = "bigquery"
after = "stream"
table = "p.d.t"
id_column = "trace_id"
end = true
"""


def configurations() -> dict[str, bytes]:
    # Comments have no effect, and fuzzing would spend its time on them.
    shipped = "\n".join(line.split("  #")[0] for line in (ROOT / "config/traceprobe.toml").read_text().splitlines()
                        if line and not line.startswith("#"))
    uncommented = (ROOT / "config/traceprobe.toml").read_text()
    optional = "\n".join(line[1:].strip() for line in uncommented.splitlines() if line.startswith("#") and " = " in line)
    variants = {
        "shipped": shipped, "optional": optional[:6_000], "not-toml": "[probe\nslo = ",
        "environment": CONFIGURATION + "\0TRACEPROBE_PROBE_SLO=5s\nTRACEPROBE_STAGE_STREAM_STREAM=x-{tenant}\n"
                       "TRACEPROBE_NO_SUCH_KEY=1\nTRACEPROBE_TENANT_ACME_LOG_GROUP=/b\nTRACEPROBE_AWS_ENDPOINT=http://u:p@h/?k=v",
        "environment-only": "\0TRACEPROBE_AWS_REGION=eu-central-1\nTRACEPROBE_PORT=tcp://1\n"
                            "ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/x",
        "unknown-keys": CONFIGURATION.replace("slo", "sloo").replace("bucket", "buckett"),
        "wrong-types": CONFIGURATION.replace('"30s"', "30").replace('"archive"', "[1, 2.5, true, 1979-05-27]"),
        "durations": CONFIGURATION.replace('"30s"', '"99999999999999999999s"').replace('"1m"', '"-1s"'),
        "braces": CONFIGURATION.replace("{tenant}", "{tenant}{tenant}{x}{").replace("%Y/%m/%d", "%Q%%%5Y%é"),
        "loops": CONFIGURATION.replace('after = "stream"', 'after = "table"'), "twice": CONFIGURATION + CONFIGURATION,
        "without-end": CONFIGURATION.replace("end = true", ""), "names": CONFIGURATION.replace("acme", "\u202e ac\\u0000me"),
        "many-tenants": CONFIGURATION + "".join(f'[[tenant]]\nname="t{at}"\nlog_group="/t{at}"\n' for at in range(30)),
        "deep": "a = " + "[" * 100 + "]" * 100,
    }
    return {name: text.encode() for name, text in variants.items()}


def rows() -> dict[str, bytes]:
    def answer(*rows: list, **more: object) -> bytes:
        return json.dumps({"jobComplete": True, "rows": [{"f": [{"v": cell} for cell in row]} for row in rows], **more}).encode()

    trace = (PLANNED_MS.to_bytes(6, "big") + bytes([0x71, 1, 0x81]) + bytes([1] * 7)).hex()
    names = [TAG, trace, f"x {TAG} y", tag("globex", 2), tag(key=b"x" * 16)]
    times = ["1795321781123456", "1795321781.123456", "1.795321781123456E9", "2026-11-22T04:29:41.123456Z",
             "2026-11-22 04:29:41.123456+00:00", "yesterday", "1e308", "NaN", "-1", "9223372036854775807", None, 7, [], {}]
    schema = {"fields": [{"name": "id", "type": "STRING"}, {"name": "n", "type": "RECORD", "mode": "REPEATED",
                                                             "fields": [{"name": "x", "type": "FLOAT"}]}]}
    good = answer(*[[name, time, "acme", text] for name in names for time, text in ((times[0], CANARY), (times[3], LINE))])
    inputs = {f"named-{kind}": bytes([kind]) + good for kind in range(4)}
    return inputs | {
        "times": b"\0" + answer(*[[TAG, time, None, None] for time in times]), "lengths": b"\0" + answer([TAG], [TAG] * 9, []),
        "no-rows": b"\0" + answer(), "not-json": b"\0<html>", "torn": b"\0" + good[:-9],
        "schema": b"\0" + answer([TAG, 1, 2, 3], schema=schema, totalBytesProcessed="77", totalBytesBilled="-1"),
        "errors": b"\0" + answer(errors=[{"reason": "invalid", "message": "no"}], jobReference={"jobId": "j"}, pageToken="p"),
        "same-row-often": b"\1" + answer(*[[trace, times[0], "a", "b"]] * 20),
        "found-smallest-instant": b"\0" + answer([TAG, "-9223372036854775808", None, None]),
    }


def gcs() -> dict[str, bytes]:
    item = {"name": "in/04/a", "generation": "1700000000000000", "size": "77", "timeCreated": "2026-11-22T04:29:41.123Z"}
    listing = lambda *items, **more: json.dumps({"items": items, **more}).encode()
    whole = listing(item, item | {"name": "in/04/b"}, nextPageToken="t")
    return {
        "whole": whole, "torn": whole[:-9], "damaged": flipped(whole, 1), "then-garbage": whole + b"\x00\xff garbage",
        "more-fields": listing(item | {"timeFinalized": "2026-11-22T05:00:00Z"}, item | {"size": 7}, item | {"x": [[{}]]}),
        "bad-time": listing(item | {"timeCreated": "x"}), "bad-size": listing(item | {"size": "-1"}), "no-items": b"{}",
        "null": b'{"items":null}', "deep": b"[" * 200, "same-key-often": listing(*[item] * 30),
        "early": listing(item | {"timeCreated": "-009999-01-01T00:00:00Z"}),
        "late": listing(item | {"timeCreated": "9999-12-31T23:59:59.999999999+23:59"}),
    }


def s3() -> dict[str, bytes]:
    def listing(*contents: str, more: str = "") -> bytes:
        return f'<?xml version="1.0"?><ListBucketResult>{"".join(contents)}{more}</ListBucketResult>'.encode()

    def contents(key: str = "in/04/a", at: str = "2026-11-22T04:29:41.000Z", etag: str = "&quot;e&quot;", size: str = "77") -> str:
        return (f"<Contents><Key>{key}</Key><LastModified>{at}</LastModified><ETag>{etag}</ETag><Size>{size}</Size>"
                "</Contents>")

    token = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    error = b"<Error><Code>%s</Code><Message>details</Message><RequestId>1</RequestId></Error>"
    return {
        "pages": b"\0" + listing(contents(), contents("in/04/b", etag="&quot;e-12&quot;"), more=token),
        "escaped": b"\0" + listing(contents("a&amp;b&#x202e;&lt;c&gt;"), "<Contents><Key><![CDATA[x]]></Key></Contents>"),
        "encoded": b"\0" + listing("<EncodingType>url</EncodingType>", contents("a%2Fb")), "torn": b"\0" + listing(contents())[:90],
        "bad-time": b"\0" + listing(contents(at="x")), "early": b"\0" + listing(contents(at="-9999-01-01T00:00:00Z")),
        "bad-size": b"\0" + listing(contents(size="-1")), "huge-size": b"\0" + listing(contents(size="9" * 20)),
        "html": b"\5<html><body>502 Bad Gateway</body></html>", "wrong-root": b"\0<Other/>", "deep": b"\0" + b"<a>" * 200,
        "entity": b'\0<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;', "redirected": b"\1" + error % b"TemporaryRedirect",
        "denied": b"\2" + error % b"AccessDenied", "slow-down": b"\5" + error % b"SlowDown",
    }


def web() -> dict[str, bytes]:
    evil = "%3Czq%20onload%3Dx%3E"
    trace = (PLANNED_MS.to_bytes(6, "big") + bytes([0x71, 1, 0x81]) + bytes([1] * 7)).hex()
    accept = ["accept: text/html;q=0.5, application/json;q=0.9", "accept-encoding: gzip, zstd;q=0", "if-none-match: x"]
    odd = ["accept: */*;q=NaN", "accept: \xff\xfe", "accept: " + "a/b," * 50, "host: <zq>", "range: bytes=0-1"]
    requests = {
        "root": ["/"], "page": [f"/traces/{trace}"], "page-of-tag": [f"/traces/{TAG}"], "no-such-trace": [f"/traces/{evil}%00%ff"],
        "no-such-page": [f"/{evil}/..%2f..%2fetc", "host: <zq>"], "ready": ["/readyz"], "metrics": ["/metrics", *odd],
        "openmetrics": ["/metrics", "accept: application/openmetrics-text; version=1.0.0", *accept], "config": ["/config"],
        "icon": [f"/static/icon/{evil}.svg"], "script": ["/static/live.js", *accept],
        "recent": ["/traces/recent?tenant=acme&outcome=in_flight&limit=1&since=1h&until=-1s", *accept],
        "recent-as-json": ["/traces/recent?format=json&limit=99999999999999999999", "accept: application/json"],
        "recent-evil": [f"/traces/recent?limit={evil}&outcome={evil}&stage={evil}&tenant={evil}&since={evil}&{evil}={evil}", *odd],
    }
    return {name: "\n".join(lines).encode("latin-1") for name, lines in requests.items()}


def main() -> None:
    all_inputs = {"decode": decode(), **codecs(), "kpl": kpl(), "tag": tags(), "key_template": templates(),
                  "configuration": configurations(), "bigquery_rows": rows(), "gcs_listing": gcs(), "s3_listing": s3(), "web": web()}
    for target, inputs in all_inputs.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if not old.name.startswith("found-"):
                old.unlink()
        for name, data in inputs.items():
            (folder / name).write_bytes(data)
    size = sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file())
    print(f"{sum(map(len, all_inputs.values()))} inputs, {size >> 10} KiB")


if __name__ == "__main__":
    main()
