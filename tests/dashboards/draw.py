#!/usr/bin/env python3
"""Draws Grafana's dashboards from what a real Prometheus answers, because no Grafana can be had here.

It starts `traceprobe demo` with a scenario, a Prometheus that scrapes it, asks every query of every dashboard after a
while, and draws the panels with their units, thresholds and value mappings, in Grafana's grid. It is no Grafana: fonts
and colours differ, but what a panel says does not.

usage: draw.py FOLDER [--tenants N] [--fault NAME] [--minutes N] [--only FILE]

Faults: healthy; a scenario of the demo (stall, loss, slow, ...); archive (the archive takes nothing of anybody); cost
(what polls are billed grows eightyfold, in a proxy in front of /metrics, because the sandbox bills nothing).
Needs the Python that `tests/tools/venv.sh tests/browser` prints, chromium, and Debian's prometheus on PATH.
Environment: TRACEPROBE (default: target/debug/traceprobe).
"""

import argparse
import html
import http.server
import json
import math
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TRACEPROBE", str(ROOT / "target/debug/traceprobe"))
WIDTH, ROW = 1500, 32
PALETTE = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9", "#8ab8ff", "#ca95e5", "#56a64b", "#e0b400", "#3274d9",
           "#ff780a", "#a352cc", "#1f60c4", "#fade2a", "#37872d", "#fa6400", "#8f3bb8", "#96d98d", "#ffee52", "#c0d8ff"]
NAMED = {"blue": "#3274d9", "green": "#56a64b", "orange": "#ff9830", "red": "#e02f44", "purple": "#a352cc",
         "yellow": "#fade2a", "light-blue": "#8ab8ff", "light-purple": "#ca95e5", "dark-yellow": "#e0b400",
         "dark-blue": "#1f60c4", "dark-purple": "#8f3bb8", "light-yellow": "#fff899"}
# What the proxy multiplies in a cost overrun.
BILLED = re.compile(r"^(traceprobe_bigquery_bytes_billed_total|traceprobe_estimated_cost_dollars_total(?=\{service=.bigquery))(\{[^}]*\})? (\S+)$")


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Proxy(http.server.BaseHTTPRequestHandler):
    """Serves the metrics of the demo; after `began`, what is billed grows faster."""

    target, began, base = "", None, {}

    def do_GET(self):
        text = urllib.request.urlopen(f"http://{self.target}/metrics").read().decode()
        lines = []
        for line in text.splitlines():
            found = BILLED.match(line)
            if found:
                key, value = found[1] + (found[2] or ""), float(found[3])
                if Proxy.began is None:
                    Proxy.base[key] = value
                value = Proxy.base.get(key, 0) + (value - Proxy.base.get(key, 0)) * (80 if Proxy.began else 1)
                line = f"{key} {value}"
            lines.append(line)
        body = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Prometheus:
    def __init__(self, folder, target, interval):
        self.port = free_port()
        config = {"global": {"scrape_interval": interval},
                  "scrape_configs": [{"job_name": "traceprobe", "static_configs": [{"targets": [target]}]}]}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            return json.load(urllib.request.urlopen(url))["data"]["result"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{parameters}: {error.read().decode()}")


def nothing(panel):
    text = panel["fieldConfig"]["defaults"].get("noValue", "No data")
    return f"<p class=none>{text}</p>"


def value(text, unit, decimals=None):
    """A number as Grafana would write it."""
    number = float(text)
    if decimals is not None and math.isfinite(number):
        return f"{number:.{decimals}f}"
    if math.isnan(number):
        return "No data"
    if unit == "percentunit":
        return f"{number * 100:.4g} %"
    if unit == "percent":
        return f"{number:.4g} %"
    if unit == "s":
        for factor, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms")):
            if abs(number) >= factor:
                return f"{number / factor:.3g} {name}"
        return "0 s"
    if unit in ("bytes", "Bps"):
        for factor, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if abs(number) >= factor:
                return f"{number / factor:.3g} {name}" + ("/s" if unit == "Bps" else "")
    if unit.startswith("suffix:"):
        return f"{number:.3g} {unit.removeprefix('suffix:')}"
    if unit == "currencyUSD":
        return f"${number:.4g}"
    return f"{number:.4g}" + ("/s" if unit == "cps" else "")


def colour(panel, number):
    """The colour of a value, by its mapping or by the thresholds."""
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults.get("mappings", []):
        entry = mapping["options"].get(f"{number:g}")
        if entry:
            return NAMED[entry["color"]], entry["text"]
    chosen = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or number >= step["value"]:
            chosen = step["color"]
    return NAMED[chosen], None


def legend(target, metric):
    return re.sub(r"\{\{(\w+)\}\}", lambda found: metric.get(found[1], ""), target["legendFormat"]) or "value"


def colour_of_line(panel, index, name):
    for override in panel["fieldConfig"]["overrides"]:
        if re.search(override["matcher"]["options"].strip("/"), name):
            return NAMED[override["properties"][0]["value"]["fixedColor"]]
    return PALETTE[index % 20]


def time_axis(span, left, right, bottom):
    """The ends of the time axis."""
    minutes = (span[1] - span[0]) / 60
    return (f'<text x={left} y={bottom} class=axis>{minutes:.0f} min ago</text>'
            f'<text x={(left + right) / 2} y={bottom} text-anchor=middle class=axis>{minutes / 2:.1f} min ago</text>'
            f'<text x={right} y={bottom} text-anchor=end class=axis>now</text>')


def line_chart(panel, series, span, size):
    width, height = size
    unit = panel["fieldConfig"]["defaults"]["unit"]
    decimals = panel["fieldConfig"]["defaults"].get("decimals")
    points = [(t, float(v)) for _, values in series for t, v in values if float(v) == float(v) and abs(float(v)) != math.inf]
    if not points:
        return nothing(panel)
    limits = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"] if step["value"] is not None]
    lines = panel["fieldConfig"]["defaults"]["custom"]["thresholdsStyle"]["mode"] == "line"
    top = max(v for _, v in points)
    top = max([top] + [it for it in limits if lines and it < top * 3]) or 1
    x = lambda t: 60 + (t - span[0]) / (span[1] - span[0]) * (width - 70)
    y = lambda v: height - 36 - max(v, 0) / top * (height - 52)
    parts = [f'<text x=2 y={y(top) + 8} class=axis>{value(top, unit, decimals)}</text>', f'<text x=2 y={y(0)} class=axis>0</text>',
             time_axis(span, 60, width - 10, height - 22)]
    colours = ["#ff9830", "#e02f44"] if len(limits) == 2 else ["#e02f44"]
    if limits and limits[0] > limits[-1]:
        colours.reverse()
    for limit, hue in zip(limits, colours):
        if lines and limit <= top:
            parts.append(f'<line x1=60 x2={width - 10} y1={y(limit)} y2={y(limit)} stroke="{hue}" stroke-dasharray="5 4"/>')
    for index, (name, values) in enumerate(series):
        hue = colour_of_line(panel, index, name)
        run, last = [], None
        for t, v in values + [(math.inf, "NaN")]:
            number = float(v)
            if number == number and (last is None or t - last < 125):
                run.append(f"{x(t):.1f},{y(number):.1f}")
                last = t
                continue
            if len(run) == 1:
                run.append(run[0])
            if run:
                parts.append(f'<polyline points="{" ".join(run)}" fill=none stroke-width=1.6 stroke-linecap=round stroke="{hue}"/>')
            run, last = ([f"{x(t):.1f},{y(number):.1f}"], t) if number == number and t != math.inf else ([], None)
    names = "".join(f'<span style="color:{colour_of_line(panel, i, name)}">&#9644; {html.escape(name)}</span> ' for i, (name, _) in enumerate(series))
    return f'<svg width={width} height={height - 18}>{"".join(parts)}</svg><div class=legend>{names}</div>'


def states(panel, series, span, size):
    width, height = size
    if not series:
        return nothing(panel)
    each = min(26, (height - 24) / len(series))
    x = lambda t: 170 + (t - span[0]) / (span[1] - span[0]) * (width - 180)
    step = (span[1] - span[0]) / 120
    parts = []
    for row, (name, values) in enumerate(series):
        parts.append(f'<text x=165 y={row * each + each * 0.7} text-anchor=end class=axis>{html.escape(name)}</text>')
        start, before = None, None
        for t, v in values + [(math.inf, None)]:
            if v != before:
                if before is not None:
                    hue, text = colour(panel, float(before))
                    wide = x(last + step) - x(start)
                    parts.append(f'<rect x={x(start):.1f} y={row * each + 1} width={wide:.1f} height={each - 3} fill="{hue}"/>')
                    if text and wide > 9 * len(text):
                        parts.append(f'<text x={x(start) + 4:.1f} y={row * each + each * 0.7} class=state>{text}</text>')
                start, before = t, v
            last = t
    parts.append(time_axis(span, 170, width - 10, len(series) * each + 14))
    return f'<svg width={width} height={height}>{"".join(parts)}</svg>'


def heat(panel, series, span, size):
    width, height = size
    order = sorted(series, key=lambda it: math.inf if it[0] == "+Inf" else float(it[0]))
    rows, before = [], {}
    for name, values in order:
        now = {t: float(v) for t, v in values}
        rows.append((name, {t: max(0, v - before.get(t, 0)) for t, v in now.items()}))
        before = now
    most = max([v for _, cells in rows for v in cells.values()] or [0]) or 1
    each, step = (height - 10) / max(1, len(rows)), (width - 70) / 121
    parts = []
    for index, (name, cells) in enumerate(rows):
        y = height - 8 - (index + 1) * each
        parts.append(f'<text x=55 y={y + each * 0.8} text-anchor=end class=axis>{name}</text>')
        for t, v in cells.items():
            if v > 0:
                x = 60 + (t - span[0]) / (span[1] - span[0]) * (width - 70)
                parts.append(f'<rect x={x:.1f} y={y:.1f} width={step:.1f} height={each:.1f} fill="#ff780a" opacity="{0.15 + 0.85 * (v / most) ** 0.5:.2f}"/>')
    return f'<svg width={width} height={height}>{"".join(parts)}</svg>'


def body(panel, prometheus, fill, span, size):
    kind = panel["type"]
    if kind == "text":
        return "<p>" + html.escape(panel["options"]["content"]).replace("\n\n", "<p>") + "</p>"
    if panel["datasource"]["type"] != "prometheus":
        return "<p class=none>asks a cloud, which is not here</p>"
    unit = panel["fieldConfig"]["defaults"]["unit"]
    found = []
    for target in panel["targets"]:
        expr = fill(target["expr"])
        if target["instant"]:
            for one in prometheus.ask("query", query=expr, time=span[1]):
                found.append((legend(target, one["metric"]), one["metric"], [one["value"]]))
        else:
            step = (span[1] - span[0]) / 120
            for one in prometheus.ask("query_range", query=expr, start=span[0], end=span[1], step=step):
                found.append((legend(target, one["metric"]), one["metric"], [tuple(it) for it in one["values"]]))
    assert len(found) <= 20, (panel["title"], len(found))
    series = [(name, values) for name, _, values in found]
    if kind == "stat":
        if not found:
            return nothing(panel)
        number = float(found[0][2][-1][1])
        hue, text = colour(panel, number)
        name = found[0][0] if found[0][0] != "value" else ""
        return f'<div class=stat style="background:{hue}">{text or value(number, unit, panel["fieldConfig"]["defaults"].get("decimals"))}<small>{html.escape(name)}</small></div>'
    if kind == "timeseries":
        return line_chart(panel, series, span, size)
    if kind == "state-timeline":
        return states(panel, series, span, size)
    if kind == "heatmap":
        return heat(panel, series, span, size)
    if not found:
        return nothing(panel)
    if kind == "table":
        labels = sorted({label for _, metric, _ in found for label in metric if label != "__name__"})
        named = panel["transformations"][0]["options"]["renameByName"].get("Value", "Value")
        head = "".join(f"<th>{it}</th>" for it in labels + [named])
        rows = "".join("<tr>" + "".join(f"<td>{html.escape(m.get(it, ''))}</td>" for it in labels) + f"<td>{value(v[-1][1], unit)}</td></tr>" for _, m, v in found)
        return f"<table><tr>{head}</tr>{rows}</table>"
    rows = ""
    for name, values in series:
        number = float(values[-1][1])
        most = max(float(v[-1][1]) for _, v in series) or 1
        share = 0 if number != number else number / most * 60
        rows += f'<div class=bar><span>{html.escape(name)}</span><i style="width:{share}%;background:{colour(panel, number)[0]}"></i> {value(number, unit)}</div>'
    return rows


STYLE = """
body { margin: 0; background: #111217; color: #ccccdc; font: 13px sans-serif; position: relative }
.panel { position: absolute; background: #181b1f; border: 1px solid #2b2f36; box-sizing: border-box; overflow: hidden; padding: 4px }
.row { position: absolute; left: 8px; font-weight: bold } h4 { margin: 0 0 2px; font-size: 12px; font-weight: 600 }
.none { color: #777; text-align: center; margin-top: 30px } .axis { fill: #9aa; font-size: 11px } .state { fill: #fff; font-size: 11px }
.legend { font-size: 11px; line-height: 14px; white-space: nowrap; overflow: hidden } p { margin: 4px }
.stat { color: #fff; font-size: 26px; text-align: center; padding: 18px 4px; height: 100% } .stat small { display: block; font-size: 13px }
table { border-collapse: collapse; font-size: 12px } td, th { text-align: left; padding: 2px 10px; border-bottom: 1px solid #2b2f36 }
.bar { margin: 4px 0; font-size: 12px; display: flex; gap: 6px } .bar span { width: 90px; text-align: right } .bar i { display: block; height: 14px }
"""


def page(dashboard, prometheus, fill, span, chosen):
    title = f"{dashboard['title']}: {chosen}"
    cell, parts, bottom = WIDTH / 24, [f"<div class=row style='top:6px;font-size:18px'>{html.escape(title)}</div>"], 0
    shift = -1
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        top = (grid["y"] - shift) * ROW
        if panel["type"] == "row":
            mark = "&#9656;" if panel["collapsed"] else "&#9662;"
            parts.append(f'<div class=row style="top:{top + 6}px">{mark} {html.escape(panel["title"])}</div>')
            if panel["collapsed"]:
                ends = [it["gridPos"]["y"] + it["gridPos"]["h"] for it in panel["panels"]]
                shift += max(ends) - grid["y"] - 1
            bottom = max(bottom, top + ROW)
            continue
        size = (grid["w"] * cell - 12, grid["h"] * ROW - 26)
        inner = body(panel, prometheus, fill, span, size)
        style = f"left:{grid['x'] * cell}px;top:{top}px;width:{grid['w'] * cell}px;height:{grid['h'] * ROW - 4}px"
        parts.append(f'<div class=panel style="{style}"><h4>{html.escape(panel["title"])}</h4>{inner}</div>')
        bottom = max(bottom, top + grid["h"] * ROW)
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><body style='width:{WIDTH}px;height:{bottom}px'>{''.join(parts)}"


def wait_for(url, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return urllib.request.urlopen(url).read()
        except OSError:
            time.sleep(0.3)
    raise SystemExit(f"nothing answers at {url}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tenants", type=int, default=3)
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--minutes", type=float, help="default: 4; 24 of cost, which is compared with what was before")
    parser.add_argument("--only")
    options = parser.parse_args()
    options.minutes = options.minutes or (24 if options.fault == "cost" else 4)
    options.folder.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="traceprobe-draw-"))
    port, own = free_port(), options.fault in ("healthy", "archive", "cost")
    log = open(scratch / "demo.log", "w+")
    demo = subprocess.Popen([PROGRAM, "demo", "--listen", f"127.0.0.1:{port}", "--tenants", str(options.tenants), "--print-config",
                             "--scenario", "healthy" if own else options.fault], stdout=log, stderr=subprocess.STDOUT)
    target = f"127.0.0.1:{port}"
    prometheus = None
    try:
        wait_for(f"http://{target}/healthz")
        if options.fault == "cost":
            Proxy.target = target
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            target = f"127.0.0.1:{server.server_port}"
        # A scrape ends with its interval, and those of many tenants take a debug build longer.
        prometheus = Prometheus(scratch, target, "2s" if options.tenants < 10 else "5s")
        began = time.time()
        time.sleep(options.minutes * 20)
        Proxy.began = time.time()
        printed = (scratch / "demo.log").read_text()
        if options.fault == "archive":
            admin = re.search(r"at (http://\S+)/faults", printed)[1]
            fault = json.dumps({"kind": "stage", "stage": "archive", "effect": "lose", "probability": 1.0}).encode()
            urllib.request.urlopen(urllib.request.Request(f"{admin}/faults", fault, {"Content-Type": "application/json"}))
        time.sleep(options.minutes * 40)
        config = scratch / "traceprobe.toml"
        config.write_text(printed[printed.index("["):printed.index("sandbox pipeline with")])
        subprocess.run([PROGRAM, "dashboards", "grafana", "--config", config, "--output", scratch / "grafana"], check=True, stdout=subprocess.DEVNULL)
        span = (began, time.time())
        tenants = prometheus.ask("query", query='count by (tenant) (traceprobe_injections_total{tenant!="drill"})')
        first = sorted(it["metric"]["tenant"] for it in tenants)[0]
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            sheet = browser.new_page(viewport={"width": WIDTH, "height": 900})
            for file in sorted((scratch / "grafana").glob("*.json")):
                if options.only and file.name != options.only or file.name.startswith("pipeline"):
                    continue
                fill = lambda expr: (expr.replace("$job", ".+").replace("$instance", ".+")
                                     .replace("$tenant", first if file.name == "tenant.json" else ".+")
                                     # A day in minutes.
                                     .replace("[1d:5m]", "[1d:20s]").replace("$__rate_interval", "20s").replace("$__range", f"{int(span[1] - span[0])}s"))
                sheet.set_content(page(json.loads(file.read_text()), prometheus, fill, span, first if file.name == "tenant.json" else "all tenants"))
                name = f"{options.fault}-{options.tenants}-{file.stem}.png"
                sheet.screenshot(path=options.folder / name, full_page=True)
                print(options.folder / name)
            browser.close()
    finally:
        demo.terminate()
        if prometheus:
            prometheus.process.terminate()


main()
