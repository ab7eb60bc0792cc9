#!/usr/bin/env python3
"""Starts a Frontrow server of its own and runs selftest.py against it.

Usage: run_selftest.py PATH_OF_FRONTROW_BINARY
"""
import json
import os
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    with tempfile.TemporaryDirectory(prefix="frontrow-python-") as data:
        settings = {
            "FRONTROW_SERVER__DATA": os.path.join(data, "data"),
            "FRONTROW_SERVER__TCP": "127.0.0.1:0",
            "FRONTROW_SERVER__HTTP": "127.0.0.1:0",
            "FRONTROW_SERVER__CORE_PORTS": "0",
            "FRONTROW_SERVER__CORES": "2",
            "FRONTROW_SERVER__PIN": "false",
            "FRONTROW_LOG__SEGMENT": "8MiB",
        }
        server = subprocess.Popen(
            [sys.argv[1], "--json", "serve"], env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True
        )
        # A server that says nothing for a minute is ended, so that the test ends too.
        guard = threading.Timer(60, server.kill)
        guard.start()
        try:
            line = server.stdout.readline()
            if not line:
                print("the server did not start")
                return 1
            started = json.loads(line)
            test = [sys.executable, os.path.join(HERE, "selftest.py"), "http://" + started["http"], started["tcp"]]
            return subprocess.run(test, timeout=120).returncode
        finally:
            guard.cancel()
            server.terminate()
            server.wait(timeout=30)


if __name__ == "__main__":
    sys.exit(main())
