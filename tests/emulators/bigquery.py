"""The calls of BigQuery's REST API that the pipeline needs, using only the standard library."""

import json
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 120


class Unreachable(Exception):
    """Connection refused: the request has certainly not arrived."""


class Failed(Exception):
    """An error or a broken connection: the request may have arrived."""


class BigQuery:
    def __init__(self, url: str, project: str, dataset: str, table: str) -> None:
        self.url, self.project, self.dataset, self.table = url, project, dataset, table
        self._dataset_url = f"{url}/projects/{project}/datasets"
        self._tables_url = f"{self._dataset_url}/{dataset}/tables"

    @property
    def table_name(self) -> str:
        return f"{self.project}.{self.dataset}.{self.table}"

    def is_up(self) -> bool:
        try:
            self._call("GET", self._dataset_url)
            return True
        except (Unreachable, Failed):
            return False

    def create_dataset(self) -> None:
        self._call("POST", self._dataset_url,
                   {"datasetReference": {"projectId": self.project, "datasetId": self.dataset}})

    def create_table(self, schema: list[dict], partitioning: dict) -> None:
        self._call("POST", self._tables_url, {
            "tableReference": {"projectId": self.project, "datasetId": self.dataset, "tableId": self.table},
            "schema": {"fields": schema},
            "timePartitioning": partitioning,
        })

    def insert(self, rows: list[dict]) -> None:
        body = {"rows": [{"insertId": row.pop("insert_id", None), "json": row} for row in rows]}
        answer = self._call("POST", f"{self._tables_url}/{self.table}/insertAll", body)
        if answer.get("insertErrors"):
            raise Failed(f"insertErrors: {answer['insertErrors'][:3]}")

    def query(self, sql: str, parameters: list[dict] = ()) -> list[list]:
        answer = self._call("POST", f"{self.url}/projects/{self.project}/queries", {
            "query": sql, "useLegacySql": False, "useQueryCache": False, "timeoutMs": 30_000, "maxResults": 100_000,
            "parameterMode": "NAMED", "queryParameters": list(parameters),
        })
        # bqemulator reports a failed query with HTTP 200.
        if answer.get("errors") or not answer.get("jobComplete"):
            raise Failed(f"query: {answer.get('errors') or 'not complete'}")
        return [[cell["v"] for cell in row["f"]] for row in answer.get("rows", [])]

    @staticmethod
    def _call(method: str, url: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failed(f"{method} {url}: {error.code} {error.read()[:500]!r}") from error
        except (OSError, ValueError) as error:
            if isinstance(getattr(error, "reason", error), ConnectionRefusedError):
                raise Unreachable(url) from error
            raise Failed(f"{method} {url}: {error!r}") from error


def strings(name: str, values: list[str]) -> dict:
    """A named parameter of type ARRAY<STRING>."""
    return {
        "name": name,
        "parameterType": {"type": "ARRAY", "arrayType": {"type": "STRING"}},
        "parameterValue": {"arrayValues": [{"value": value} for value in values]},
    }


def timestamp(name: str, value: str) -> dict:
    """A named parameter of type TIMESTAMP."""
    return {"name": name, "parameterType": {"type": "TIMESTAMP"}, "parameterValue": {"value": value}}
