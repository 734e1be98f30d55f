#!/usr/bin/env python3
"""Holds many connections of the web port and checks that scrapes are still answered.

Starts `traceprobe demo` under the memory limit of the shipped task and plays six campaigns against it, each with
connections from this one process:

  large heads   2,000 connections that each send 387 KB of a head that never ends
  slow heads    2,000 connections that each send 11 KB of a head that never ends
  silent        1,100 connections that send nothing, at a soft limit of 1,024 descriptors that the program may raise
  silent, 1024  the same at a hard limit of 1,024, so that room must be made
  kept alive    300 connections that have been answered and stay
  event streams 300 connections that follow the page

While they are held, /metrics is scraped once a second. The program fails unless every scrape was answered, the resident
memory stays within 64 MiB of what it was before, what was accepted, refused and closed is counted, and all connections
are gone at the end. It prints one line for each campaign.

usage: connections.py PROGRAM [--seconds N] [--campaign NAME]
"""

import argparse
import contextlib
import os
import re
import resource
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

# Memory of the task in config/ecs/task-definition.json.
MEMORY = 512 << 20
MEMORY_MARGIN = 64 << 20
SCRAPE_TIMEOUT = 10
LARGE_HEAD = 387 << 10
# As much as the server reads before it refuses a head.
SLOW_HEAD = 11 << 10
# Longer than the longest timeout of the server, which is for idle connections.
GONE_WITHIN = 150
# The program's own connections to the services of its pipeline come and go.
DESCRIPTORS_MARGIN = 20
PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Demo:
    """The program, with the address that it prints."""

    def __init__(self, program, descriptors):
        def limit():
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)

        self.process = subprocess.Popen([program, "demo", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, preexec_fn=limit)
        for line in self.process.stdout:
            found = re.search(r"listening on http://([0-9.]+):(\d+)", line)
            if found:
                self.address = (found[1], int(found[2]))
                return
        sys.exit("the program ended before it listened")

    def resident(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def scrape(self):
        """Returns the metrics and how long they took."""
        began = time.monotonic()
        host, port = self.address
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=SCRAPE_TIMEOUT) as answer:
            text = answer.read().decode()
        return text, time.monotonic() - began

    def follow(self):
        """Returns a request for the changes of the page from now on."""
        host, port = self.address
        request = urllib.request.Request(f"http://{host}:{port}/traces/recent", headers={"Accept": "text/html"})
        with urllib.request.urlopen(request, timeout=SCRAPE_TIMEOUT) as answer:
            version = answer.headers["ETag"].strip('W/"')
        return f"GET /traces/recent/events?version={version} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def value(metrics, name, reason=None):
    series = f'{name}{{reason="{reason}"}}' if reason else name
    found = re.search(rf"^{re.escape(series)} (\S+)$", metrics, re.MULTILINE)
    if not found:
        sys.exit(f"the scrape has no {series}")
    return int(float(found[1]))


def closed(metrics):
    found = re.findall(r'^traceprobe_web_connections_closed_total\{reason="(\w+)"\} (\S+)$', metrics, re.MULTILINE)
    return {reason: int(float(count)) for reason, count in found if float(count)}


class Crowd:
    """Connections that are kept open, each with what it still has to send. One that was closed is opened again."""

    def __init__(self, address, count, first, rest, again):
        self.address, self.first, self.rest, self.again = address, first, rest, again
        self.selector = selectors.DefaultSelector()
        self.opened = 0
        self.received = 0
        self.missing = count

    def open(self):
        peer = socket.socket()
        peer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            peer.connect(self.address)
        self.opened += 1
        self.missing -= 1
        what = bytearray(self.first)
        what += b"a" * self.rest
        self.selector.register(peer, selectors.EVENT_READ | (selectors.EVENT_WRITE if what else 0), what)

    def close(self, peer):
        self.selector.unregister(peer)
        peer.close()
        self.missing += self.again

    def work(self, seconds):
        """Opens what is missing, sends and receives, for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for _ in range(min(self.missing, 50)):
                self.open()
            for key, events in self.selector.select(min(left, 0.05)):
                try:
                    if events & selectors.EVENT_READ:
                        received = len(key.fileobj.recv(65536))
                        self.received += received
                        if not received:
                            self.close(key.fileobj)
                            continue
                    if events & selectors.EVENT_WRITE:
                        del key.data[:key.fileobj.send(key.data)]
                        if not key.data:
                            self.selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
                except BlockingIOError:
                    pass
                except OSError:
                    self.close(key.fileobj)

    def alive(self):
        return len(self.selector.get_map())

    def leave(self):
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


EVENT_STREAMS = "event streams"
CAMPAIGNS = {
    "large heads": ((1024, 4096), 2_000, b"GET /metrics HTTP/1.1\r\nx: ", LARGE_HEAD, True),
    "slow heads": ((1024, 4096), 2_000, b"GET /metrics HTTP/1.1\r\nx: ", SLOW_HEAD, True),
    "silent": ((1024, 4096), 1_100, b"", 0, True),
    "silent, 1024": ((1024, 1024), 1_100, b"", 0, True),
    "kept alive": ((1024, 4096), 300, PROBE, 0, False),
    EVENT_STREAMS: ((1024, 4096), 300, None, 0, False),
}


def play(program, name, seconds):
    """Plays a campaign, prints its line, and returns what was wrong."""
    descriptors, count, first, rest, again = CAMPAIGNS[name]
    demo = Demo(program, descriptors)
    faults = []
    for _ in range(5):
        before_metrics, _ = demo.scrape()
        time.sleep(1)
    before, descriptors_before = demo.resident(), demo.descriptors()
    first = demo.follow() if first is None else first
    crowd = Crowd(demo.address, count, first, rest, again)
    took, most, held = [], before, []
    for _ in range(seconds):
        crowd.work(1)
        try:
            took.append(demo.scrape()[1])
        except OSError as error:
            faults.append(f"a scrape was not answered: {error}")
        if demo.process.poll() is not None:
            return faults + [f"the program ended with {demo.process.returncode}"]
        most = max(most, demo.resident())
        held.append(crowd.alive())
    if not again and held[-1] != count:
        faults.append(f"only {held[-1]} of {count} connections were kept")
    if name == EVENT_STREAMS and crowd.received < count * seconds:
        faults.append(f"only {crowd.received} bytes of events arrived")
    crowd.missing, crowd.again = 0, False
    if name == EVENT_STREAMS:
        # Nothing but their clients ends them.
        crowd.leave()
    # The clients stay, so that it is the server that closes. What counts is its view: a connection that its backlog
    # dropped looks open to a client that sends nothing.
    gone_after = time.monotonic()
    while (left := demo.descriptors() - descriptors_before) > DESCRIPTORS_MARGIN:
        if time.monotonic() > gone_after + GONE_WITHIN:
            faults.append(f"{left} descriptors are still open")
            break
        time.sleep(1) if name == EVENT_STREAMS else crowd.work(1)
    gone_after = time.monotonic() - gone_after
    if name != EVENT_STREAMS:
        crowd.leave()
    # A scrape is no snapshot, and the last connections of the backlog may be accepted and closed during one.
    for _ in range(10):
        after, _ = demo.scrape()
        reasons = closed(after)
        accepted = value(after, "traceprobe_web_connections_accepted_total")
        # The scrape that is being answered is open.
        counted = sum(reasons.values()) + value(after, "traceprobe_web_connections")
        if counted == accepted:
            break
        time.sleep(1)
    else:
        faults.append(f"{counted} connections were closed or are open, but {accepted} accepted")
    accepted -= value(before_metrics, "traceprobe_web_connections_accepted_total")
    if most - before > MEMORY_MARGIN:
        faults.append("memory grew by more than 64 MiB")
    refused = sum(value(after, "traceprobe_web_refused_total", reason) for reason in ["peer", "streams", "host"])
    end = demo.end()
    if end:
        faults.append(f"the program ended with {end}")
    worst, median = (max(took), statistics.median(took)) if took else (0, 0)
    print(f"{name}: {len(took)} of {seconds} scrapes answered, median {median * 1000:.0f} ms, worst {worst * 1000:.0f} ms; "
          f"memory {before >> 20} -> {most >> 20} MiB; opened {crowd.opened}, held {statistics.median(held):.0f}, received {crowd.received >> 10} KiB; "
          f"accepted {accepted}, refused {refused}, closed {reasons}; gone after {gone_after:.0f} s", flush=True)
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--campaign", choices=CAMPAIGNS)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8_192) if most > 0 else 8_192, most))
    failed = False
    for name in [options.campaign] if options.campaign else CAMPAIGNS:
        for fault in play(options.program, name, options.seconds):
            print(f"connections: {name}: {fault}", file=sys.stderr)
            failed = True
    sys.exit(failed)


main()
