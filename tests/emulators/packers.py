"""Packs log lines in the formats that pipelines use, each by a library that others maintain.

`FORMATS` has one tenant per format. Where a format has no library, its few bytes of framing are here, and the block in
it comes from a library.
"""

import base64
import bz2
import csv
import gzip
import html
import io
import json
import lzma
import pickle
import plistlib
import quopri
import random
import secrets
import sqlite3
import struct
import tarfile
import tempfile
import time
import urllib.parse
import uuid
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import brotli
import bson
import cbor2
import duckdb
import fastavro
import h5py
import kafka.codec
import lz4.block
import lz4.frame
import lzallright
import msgpack
import ncompress
import numpy
import openpyxl
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet
import pyrage
import pyzipper
import snappy
import thriftpy2
import zstandard
from aws_kinesis_agg.aggregator import RecordAggregator
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from kafka.record.default_records import DefaultRecordBatchBuilder
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from thriftpy2.utils import serialize

# What is expected of a tenant.
READ = "read"  # Every canary is found, intact, once, at every stage.
KEPT = "kept"  # It is not decoded, but strings stand in it as they are: every canary is found.
UNREADABLE = "unreadable"  # Every stage is blind and names the format.
UNKNOWN = "unknown"  # Canaries may be found by luck or be hidden in what looks like text. Only false reports count.
CHANGES = "changes"  # Read at first, unreadable from the third canary on.

Pack = Callable[[list[str]], bytes]


@dataclass(frozen=True)
class Format:
    tenant: str
    expected: str
    # As in docs/formats.md, from the outside in. It stands in the reason if it cannot be read.
    shape: str
    pack: Pack
    # What somebody else puts into the same stream and the same buckets.
    beside: tuple[Pack, ...] = ()
    # How it is packed from the third canary on.
    later: Pack | None = None
    # How many canaries are written at a time, and the seconds between two canaries.
    batch: int = 1
    interval: int = 15


def neighbours(count: int) -> list[str]:
    """Ordinary lines of a service."""
    pick = random.choice
    return [json.dumps({
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "level": pick(["INFO", "INFO", "INFO", "WARN", "DEBUG"]),
        "service": pick(["checkout", "cart", "search"]),
        "request_id": str(uuid.uuid4()),
        "message": pick([
            f"GET /api/orders/{random.randrange(10**6)} 200 in {random.randrange(400)} ms",
            f"cart of user {random.randrange(10**5)} is empty, no discount",
            f"Käufer aus {pick(['Köln', 'Zürich', 'Malmö'])} angemeldet",
        ]),
    }, ensure_ascii=False) for _ in range(count)]


def text(lines: list[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def rows(lines: list[str]) -> list[dict]:
    return [{"at": 1_795_323_623_364_000 + at, "user": random.randrange(1 << 40), "took": random.random(), "line": line}
            for at, line in enumerate(lines)]


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    target = io.BytesIO()
    write(target)
    return target.getvalue()


def envelope(lines: list[str]) -> bytes:
    """What a subscription filter sends."""
    return json.dumps({
        "messageType": "DATA_MESSAGE", "owner": "111111111111", "logGroup": "/ecs/app", "logStream": "app/1",
        "subscriptionFilters": ["all"],
        "logEvents": [{"id": f"{at:056}", "timestamp": 1_795_323_623_364, "message": line}
                      for at, line in enumerate(lines)],
    }).encode()


def comma_separated(lines: list[str]) -> bytes:
    target = io.StringIO()
    csv.writer(target).writerows([row["at"], row["user"], row["line"]] for row in rows(lines))
    return target.getvalue().encode()


def in_gzip(pack: Pack) -> Pack:
    return lambda lines: gzip.compress(pack(lines))


# Archives.
def in_zip(pack: Pack, method: int = zipfile.ZIP_DEFLATED, name: str = "app.log") -> Pack:
    def packed(lines: list[str]) -> bytes:
        def write(target: io.BytesIO) -> None:
            with zipfile.ZipFile(target, "w", method) as archive:
                archive.writestr(name, pack(lines))
        return written(write)
    return packed


def in_aes_zip(lines: list[str]) -> bytes:
    def write(target: io.BytesIO) -> None:
        with pyzipper.AESZipFile(target, "w", compression=pyzipper.ZIP_DEFLATED, encryption=pyzipper.WZ_AES) as archive:
            archive.setpassword(b"correct horse")
            archive.writestr("app.log", text(lines))
    return written(write)


def in_tar(pack: Pack, mode: str = "w") -> Pack:
    def packed(lines: list[str]) -> bytes:
        def write(target: io.BytesIO) -> None:
            with tarfile.open(fileobj=target, mode=mode) as archive:
                data = pack(lines)
                info = tarfile.TarInfo("logs/app.log")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return written(write)
    return packed


def workbook(lines: list[str]) -> bytes:
    book = openpyxl.Workbook()
    for line in lines:
        book.active.append([1, line])
    return written(book.save)


# Columns.
def table(lines: list[str]) -> pa.Table:
    return pa.Table.from_pylist(rows(lines))


def parquet(**options: object) -> Pack:
    return lambda lines: written(lambda target: pa.parquet.write_table(table(lines), target, **options))


def parquet_map(lines: list[str]) -> bytes:
    kind = pa.map_(pa.string(), pa.string())
    columns = pa.table({"labels": pa.array([[("app", "cart"), ("line", line)] for line in lines], kind)})
    return written(lambda target: pa.parquet.write_table(columns, target))


def parquet_by_duckdb(options: str) -> Pack:
    def packed(lines: list[str]) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.parquet"
            with duckdb.connect() as connection:
                connection.register("logs", table(lines))
                connection.execute(f"COPY (SELECT * FROM logs) TO '{path}' (FORMAT parquet, {options})")
            return path.read_bytes()
    return packed


def orc(codec: str) -> Pack:
    return lambda lines: written(lambda target: pa.orc.write_table(table(lines), target, compression=codec))


def arrow_file(codec: str) -> Pack:
    return lambda lines: written(
        lambda target: pa.feather.write_feather(table(lines), target, compression=codec))


def hdf5(lines: list[str]) -> bytes:
    def write(target: io.BytesIO) -> None:
        with h5py.File(target, "w") as file:
            fixed = numpy.array([line.encode() for line in lines])
            file.create_dataset("lines", data=fixed, compression="gzip", chunks=fixed.shape)
    return written(write)


AVRO = fastavro.parse_schema({"type": "record", "name": "Log", "fields": [
    {"name": "at", "type": "long"}, {"name": "user", "type": "long"}, {"name": "took", "type": "double"},
    {"name": "line", "type": "string"}]})


def avro(codec: str) -> Pack:
    return lambda lines: written(lambda target: fastavro.writer(target, AVRO, rows(lines), codec=codec))


def avro_records(lines: list[str]) -> bytes:
    return b"".join(written(lambda target: fastavro.schemaless_writer(target, AVRO, row)) for row in rows(lines))


# Values.
def otlp(lines: list[str]) -> bytes:
    """What an OpenTelemetry exporter sends, in protobuf."""
    logs = LogsData()
    scope = logs.resource_logs.add().scope_logs.add()
    for row in rows(lines):
        record = scope.log_records.add(time_unix_nano=row["at"] * 1000, trace_id=secrets.token_bytes(16))
        record.body.string_value = row["line"]
        record.attributes.add(key="took").value.double_value = row["took"]
    return logs.SerializeToString()


THRIFT = thriftpy2.load_fp(
    io.StringIO("struct Log { 1: i64 at, 2: i64 user, 3: double took, 4: string line }\n"), "log_thrift")


def thrift(lines: list[str]) -> bytes:
    return b"".join(serialize(THRIFT.Log(**row)) for row in rows(lines))


def sqlite(lines: list[str]) -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE logs (at INTEGER, user INTEGER, took REAL, line TEXT)")
    connection.executemany("INSERT INTO logs VALUES (:at, :user, :took, :line)", rows(lines))
    connection.commit()
    return connection.serialize()


def kafka_batch(codec: int) -> Pack:
    def packed(lines: list[str]) -> bytes:
        batch = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 20)
        for at, row in enumerate(rows(lines)):
            batch.append(at, row["at"] // 1000, None, row["line"].encode(), [])
        return bytes(batch.build())
    return packed


def kpl(pack: Callable[[str], bytes]) -> Pack:
    def packed(lines: list[str]) -> bytes:
        aggregate = RecordAggregator()
        for line in lines:
            aggregate.add_user_record(str(uuid.uuid4()), pack(line))
        return aggregate.clear_and_get().get_contents()[2]
    return packed


# Compressed.
def snappy_framed(lines: list[str]) -> bytes:
    return snappy.StreamCompressor().compress(text(lines))


def lz4_legacy(lines: list[str]) -> bytes:
    # What `lz4 -l` writes around a block; no library does.
    block = lz4.block.compress(text(lines), store_size=False)
    return struct.pack("<II", 0x184C2102, len(block)) + block


DICTIONARY = zstandard.train_dictionary(4 << 10, [line.encode() for line in neighbours(2000)])


def zstd_with_dictionary(lines: list[str]) -> bytes:
    return zstandard.ZstdCompressor(dict_data=DICTIONARY).compress(text(lines))


def truncated_gzip(lines: list[str]) -> bytes:
    # A writer that died: the canary, which is the last line but one, is beyond the end.
    packed = gzip.compress(text(lines))
    return packed[:len(packed) // 4]


def gzip_before_the_last_canary(lines: list[str]) -> bytes:
    # A writer that died: the last canary is beyond the end, and what stands before it can be read.
    last = max((at for at, line in enumerate(lines) if "request_id" not in line), default=len(lines))
    packer = zlib.compressobj(wbits=31)
    return packer.compress(text(lines[:last])) + packer.flush(zlib.Z_SYNC_FLUSH)


# Encrypted.
AGE = pyrage.x25519.Identity.generate().to_public()
FERNET = Fernet(Fernet.generate_key())
AES = AESGCM(AESGCM.generate_key(256))


def aes(lines: list[str]) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + AES.encrypt(nonce, text(lines), None)


# Text in text.
def firehose(data: Callable[[list[str]], bytes]) -> Pack:
    """What Firehose sends to an HTTP endpoint."""
    return lambda lines: json.dumps({
        "requestId": str(uuid.uuid4()), "timestamp": 1_795_323_623_364,
        "records": [{"data": base64.b64encode(data(lines)).decode()}]}).encode()


def of_somebody_else(pack: Pack) -> Pack:
    return lambda _: pack(neighbours(30))


def random_bytes(_: list[str]) -> bytes:
    return secrets.token_bytes(900)


FORMATS = [
    # Text.
    Format("json_lines", READ, "text", text),
    Format("csv", READ, "text", comma_separated),
    Format("json_in_json", READ, "text", lambda lines: text([json.dumps({"log": line}) for line in lines])),
    Format("envelope", READ, "text", envelope),
    Format("xml", READ, "text", lambda lines: text([f"<log>{html.escape(line)}</log>" for line in lines])),
    Format("latin_1", READ, "text", lambda lines: text(lines).decode().encode("latin-1")),
    Format("utf16", READ, "UTF-16 > text", lambda lines: text(lines).decode().encode("utf-16")),
    # Streams of compressed bytes.
    Format("gzip", READ, "gzip > text", in_gzip(text)),
    Format("gzip_envelope", READ, "gzip > text", in_gzip(envelope)),
    Format("gzip_members", READ, "gzip > text", lambda lines: b"".join(gzip.compress(text([line])) for line in lines)),
    Format("gzip_then_text", READ, "gzip > text",
           lambda lines: gzip.compress(text(lines[:5])) + text(lines[5:])),
    Format("zlib", READ, "zlib > text", lambda lines: zlib.compress(text(lines))),
    Format("zlib_lines", READ, "zlib > text",
           lambda lines: b"".join(zlib.compress(line.encode()) + b"\n" for line in lines)),
    Format("zstd", READ, "zstd > text", lambda lines: zstandard.compress(text(lines))),
    Format("bzip2", READ, "bzip2 > text", lambda lines: bz2.compress(text(lines))),
    Format("lz4", READ, "LZ4 > text", lambda lines: lz4.frame.compress(text(lines), content_checksum=True)),
    Format("lz4_legacy", READ, "legacy LZ4 > text", lz4_legacy),
    Format("snappy_framed", READ, "framed Snappy > text", snappy_framed),
    Format("snappy_hadoop", READ, "Hadoop Snappy > text",
           lambda lines: snappy.HadoopStreamCompressor().compress(text(lines))),
    Format("snappy_xerial", READ, "xerial Snappy > text", lambda lines: kafka.codec.snappy_encode(text(lines))),
    Format("snappy_raw", READ, "raw Snappy > text", lambda lines: snappy.compress(text(lines))),
    # Archives and aggregates.
    Format("zip_deflate", READ, "ZIP > text", in_zip(text)),
    Format("zip_bzip2", READ, "ZIP > text", in_zip(text, zipfile.ZIP_BZIP2)),
    Format("xlsx", READ, "ZIP > text", workbook),
    Format("tar", READ, "tar > text", in_tar(text)),
    Format("tar_gz", READ, "gzip > tar > text", in_tar(text, "w:gz")),
    Format("kpl", READ, "KPL > text", kpl(str.encode)),
    Format("kpl_of_zlib", READ, "KPL > zlib > text", kpl(lambda line: zlib.compress(line.encode()))),
    # Base64.
    Format("base64", READ, "base64 > text", lambda lines: base64.b64encode(text(lines))),
    Format("base64_mime", READ, "base64 > text", lambda lines: base64.encodebytes(text(lines))),
    Format("base64_urlsafe_lines", READ, "base64 > text",
           lambda lines: text([base64.urlsafe_b64encode(line.encode()).decode() for line in lines])),
    Format("firehose_gzip", READ, "base64 > gzip > text", firehose(in_gzip(envelope))),
    # Columns.
    Format("parquet_none", READ, "Parquet > text", parquet(compression="none")),
    Format("parquet_snappy", READ, "Parquet > text", parquet(compression="snappy")),
    Format("parquet_zstd", READ, "Parquet > text", parquet(compression="zstd", data_page_version="2.0")),
    Format("parquet_lz4", READ, "Parquet > text", parquet(compression="lz4", use_dictionary=False)),
    Format("parquet_delta", READ, "Parquet > text",
           parquet(use_dictionary=False, column_encoding={"line": "DELTA_BYTE_ARRAY"})),
    Format("parquet_map", READ, "Parquet > text", parquet_map),
    Format("parquet_duckdb", READ, "Parquet > text", parquet_by_duckdb("COMPRESSION zstd")),
    Format("parquet_duckdb_v2", READ, "Parquet > text",
           parquet_by_duckdb("COMPRESSION snappy, PARQUET_VERSION v2")),
    Format("parquet_in_zip", READ, "ZIP > Parquet > text", in_zip(parquet())),
    Format("avro_null", READ, "Avro > text", avro("null")),
    Format("avro_deflate", READ, "Avro > text", avro("deflate")),
    Format("avro_snappy", READ, "Avro > text", avro("snappy")),
    Format("avro_zstd", READ, "Avro > text", avro("zstandard")),
    # Beside what somebody else puts there.
    Format("beside_orc", READ, "text", text, beside=(of_somebody_else(orc("zlib")),)),
    Format("beside_binary", READ, "gzip > text", in_gzip(text), beside=(random_bytes,)),
    Format("parquet_beside_both", READ, "Parquet > text", parquet(),
           beside=(of_somebody_else(orc("snappy")), random_bytes)),
    # Not decoded, but strings are kept as they are.
    Format("msgpack", KEPT, "binary", lambda lines: b"".join(map(msgpack.packb, rows(lines)))),
    Format("msgpack_gzip", KEPT, "gzip > binary", in_gzip(lambda lines: b"".join(map(msgpack.packb, rows(lines))))),
    Format("otlp", KEPT, "binary", otlp),
    Format("avro_records", KEPT, "binary", avro_records),
    Format("bson", KEPT, "binary", lambda lines: b"".join(map(bson.encode, rows(lines)))),
    Format("cbor", KEPT, "binary", lambda lines: cbor2.dumps(rows(lines))),
    Format("cbor_described", KEPT, "CBOR", lambda lines: cbor2.dumps(cbor2.CBORTag(55799, rows(lines)))),
    Format("thrift", KEPT, "binary", thrift),
    Format("pickle", KEPT, "binary", lambda lines: pickle.dumps(rows(lines))),
    Format("sqlite", KEPT, "SQLite", sqlite),
    Format("arrow_plain", KEPT, "Arrow", arrow_file("uncompressed")),
    Format("kafka_batch", KEPT, "binary", kafka_batch(0)),
    # Not opened.
    Format("orc_zlib", UNREADABLE, "ORC", orc("zlib")),
    Format("orc_in_gzip", UNREADABLE, "gzip > ORC", in_gzip(orc("zlib"))),
    Format("orc_in_zip", UNREADABLE, "ZIP > ORC", in_zip(orc("zlib"))),
    Format("xz", UNREADABLE, "xz", lambda lines: lzma.compress(text(lines))),
    Format("zip_lzma", UNREADABLE, "ZIP > LZMA", in_zip(text, zipfile.ZIP_LZMA)),
    Format("compress", UNREADABLE, "compress", lambda lines: ncompress.compress(text(lines))),
    Format("brotli", UNREADABLE, "binary", lambda lines: brotli.compress(text(lines))),
    Format("parquet_brotli", UNREADABLE, "Parquet > Brotli", parquet(compression="brotli", write_statistics=False)),
    Format("avro_xz", UNREADABLE, "Avro > xz", avro("xz")),
    Format("hdf5", UNREADABLE, "HDF5", hdf5),
    Format("zstd_dictionary", UNREADABLE, "zstd", zstd_with_dictionary),
    Format("gzip_truncated", UNREADABLE, "gzip", truncated_gzip),
    Format("zip_aes", UNREADABLE, "ZIP", in_aes_zip),
    Format("age", UNREADABLE, "age", lambda lines: pyrage.encrypt(text(lines), [AGE])),
    Format("fernet", UNREADABLE, "base64 > binary",
           lambda lines: text([FERNET.encrypt(line.encode()).decode() for line in lines])),
    Format("aes_gcm", UNREADABLE, "binary", aes),
    # Found by luck, or hidden in text.
    Format("arrow_zstd", UNKNOWN, "Arrow", arrow_file("zstd")),
    Format("orc_snappy_pairs", UNKNOWN, "ORC", orc("snappy"), batch=2, interval=4),
    Format("lz4_block_pairs", UNKNOWN, "binary", lambda lines: lz4.block.compress(text(lines)), batch=2, interval=4),
    Format("lzo_pairs", UNKNOWN, "binary",
           lambda lines: lzallright.LZOCompressor().compress(text(lines)), batch=2, interval=4),
    Format("arrow_lz4_pairs", UNKNOWN, "Arrow", arrow_file("lz4"), batch=2, interval=4),
    Format("parquet_brotli_pairs", UNKNOWN, "Parquet > Brotli", parquet(compression="brotli"), batch=2, interval=4),
    Format("gzip_truncated_pairs", UNKNOWN, "gzip", gzip_before_the_last_canary, batch=2, interval=4),
    Format("kafka_gzip", UNKNOWN, "binary", kafka_batch(1)),
    Format("plist", UNKNOWN, "binary", lambda lines: plistlib.dumps(rows(lines), fmt=plistlib.FMT_BINARY)),
    Format("ebcdic", UNKNOWN, "binary", lambda lines: text(lines).decode().encode("cp500")),
    Format("hexadecimal", UNKNOWN, "text", lambda lines: text([line.encode().hex() for line in lines])),
    Format("quoted_printable", UNKNOWN, "text", lambda lines: quopri.encodestring(text(lines))),
    Format("percent", UNKNOWN, "text", lambda lines: text(list(map(urllib.parse.quote, lines)))),
    # Changes.
    Format("gzip_changes_to_orc", CHANGES, "ORC", in_gzip(text), later=orc("zlib"), interval=6),
]
