#!/usr/bin/env python3
"""What the disk's scheduler does to the time of a commit: `frontrow tune check`'s own writes, in turn.

    sudo chrt -f 1 python3 tuning/measure/disk.py --frontrow target/release/frontrow --data DIR [--rounds 10]

chrt puts it before other programs: else what is measured is the wait for a CPU. Each check writes blocks of 4 KiB for 0.7 s with O_DIRECT|O_DSYNC and for 0.7 s with fdatasync. The scheduler is put
back at the end, whatever happens.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess

import ab


def latencies(frontrow, data):
    """p50 and p99 of direct writes, p50 and p99 of synced ones, in microseconds."""
    done = subprocess.run([frontrow, "tune", "check", "--json", "--data", data], capture_output=True, text=True)
    found = next(it for it in json.loads(done.stdout)["findings"] if it["id"] == "disk-sync")["found"]
    return [float(number) for number in re.findall(r"(\d+) us", found)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frontrow", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    path = ab.scheduler_of(options.data)
    if path is None:
        raise SystemExit("this disk does not offer both none and mq-deadline")
    before, names = ab.in_force(path), ["mq-deadline", "none"]
    turns = {name: [] for name in names}
    try:
        for at in range(options.rounds):
            for name in names if at % 2 == 0 else reversed(names):
                pathlib.Path(path).write_text(name)
                turns[name].append(latencies(options.frontrow, options.data))
    finally:
        pathlib.Path(path).write_text(before)
    print("| scheduler | direct p50 us | direct p99 us | fdatasync p50 us | fdatasync p99 us |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in names:
        columns = [sorted(column) for column in zip(*turns[name])]
        cells = [f"{statistics.median(it):.0f} ({it[0]:.0f} to {it[-1]:.0f})" for it in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
