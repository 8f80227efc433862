"""Requests a second and the slowest of a hundred, on loopback: `python bench/serve.py BUNDLE RECORDING`.

Starts `distilvox serve BUNDLE`, then lets 1, 8 and 64 clients send the recording to /embed, each the next as soon as
the last was answered, over one connection each. The clients run in this process, on the same machine: their work is
in the figures. Prints one Markdown table.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

CLIENTS = (1, 8, 64)
BOUNDARY = "a-boundary-of-our-own"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each number of clients")
    parser.add_argument("--threads", default="2", help="of the service")
    options = parser.parse_args()
    words = [sys.executable, "-m", "distilvox", "serve", str(options.bundle), "--port", "0"]
    service = subprocess.Popen([*words, "--threads", options.threads], stderr=subprocess.PIPE, text=True)
    try:
        assert service.stderr is not None
        port = int(service.stderr.readline().split(":")[2].split()[0])
        body = form(options.recording)
        ask(http.client.HTTPConnection("127.0.0.1", port), body)
        sys.stdout.write("| clients | requests a second | median ms | 99th percentile ms | statuses |\n")
        sys.stdout.write("|---:|---:|---:|---:|---|\n")
        for clients in CLIENTS:
            sys.stdout.write(row(clients, port, body, options.seconds) + "\n")
            sys.stdout.flush()
    finally:
        service.terminate()
        service.communicate(timeout=30)


def form(recording: Path) -> bytes:
    """The body of a request."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{recording.name}"\r\n\r\n'
    return head.encode() + recording.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()


def ask(link: http.client.HTTPConnection, body: bytes) -> int:
    """One request; its status."""
    link.request("POST", "/embed", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    answer = link.getresponse()
    answer.read()
    return answer.status


def row(clients: int, port: int, body: bytes, seconds: float) -> str:
    """What so many clients met in so many seconds."""
    times: list[float] = []
    statuses: Counter[int] = Counter()
    end = time.monotonic() + seconds

    def work() -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while (start := time.monotonic()) < end:
            statuses[ask(link, body)] += 1
            times.append(time.monotonic() - start)

    start = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    rate = len(times) / (time.monotonic() - start)
    median, slow = np.percentile(times, [50, 99]) * 1e3
    shown = ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))
    return f"| {clients} | {rate:,.1f} | {median:,.1f} | {slow:,.1f} | {shown} |"


if __name__ == "__main__":
    main()
