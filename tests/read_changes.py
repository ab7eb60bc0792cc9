#!/usr/bin/env python3
"""Reads Frontrow's topics by docs/cdc.md alone: bookings by event, and whether a seat is booked twice.

    read_changes.py BROKERS [PREFIX [REGISTRY]]      (needs confluent-kafka: make cdc-reader)

It reads to the end of what is there now, says what it found, and fails if anything is not as the page says. With REGISTRY, the
address of a schema registry, the topics are to be Avro: the stock deserializer reads them.
"""

import json
import sys
from collections import Counter
from datetime import datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition


def avro(registry):
    """What reads values by the schemas that they name."""
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    read = AvroDeserializer(SchemaRegistryClient({"url": registry}))

    def value(message):
        it = read(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
        # What is long to a reader of JSON is what it is here.
        assert it["user"] is None or 0 <= int(it["user"]) < 2**64, it
        assert it["request"] is None or len(it["request"]) == 32, it
        for name in ("time_ms", "expires_ms"):
            assert it[name] is None or isinstance(it[name], datetime), it
        return it

    return value


def records(brokers, topic, read):
    """Everything that counts, partition by partition in its order."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "read-changes",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    found = consumer.list_topics(topic, timeout=10).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in found.partitions])
    left = set(found.partitions)
    while left:
        message = consumer.poll(30)
        if message is None:
            sys.exit(f"{topic}: Kafka does not answer")
        error = message.error()
        if error is None:
            headers = {name: value.decode() for name, value in message.headers() or []}
            if int(headers["version"]) > 1:
                sys.exit(f"{topic}: version {headers['version']} is later than this reader")
            value = read(message)
            assert value["type"] == headers["type"], headers
            for name in ("epoch", "lsn", "event"):
                assert value.get(name) is None or str(value[name]) == headers[name], headers
            yield message.partition(), message.key(), value
        elif error.code() == KafkaError._PARTITION_EOF:
            left.discard(message.partition())
        else:
            raise KafkaException(error)
    consumer.close()


def name(change):
    return change["partition"], change["epoch"], change["lsn"], change["n"]


def bookings(brokers, prefix, read):
    """By Kafka's partition, the log's and the hold: what is booked."""
    table, names = {}, set()
    for through, key, it in records(brokers, f"{prefix}.bookings", read):
        kind = it["type"]
        if kind == "upto":
            continue
        if kind in ("anew", "forgotten"):
            gone = [
                at
                for at, booked in table.items()
                if at[0] == through
                and (kind == "forgotten" or (at[1] == it["partition"] and booked["event"] in it["events"]))
            ]
            for at in gone:
                del table[at]
            if kind == "forgotten":
                names = {(of, n) for of, n in names if of != through}
            continue
        assert (through, name(it)) not in names, f"told twice: {it}"
        names.add((through, name(it)))
        assert key == str(it["user"]).encode(), f"key {key}: {it}"
        hold = it["hold"]
        at = (through, it["partition"], hold["epoch"], hold["lsn"], hold["slot"])
        if kind == "booked":
            table[at] = it
        else:
            assert kind == "cancelled" and table.pop(at, None) is not None, f"not booked: {it}"
    return table.values()


def seats(booked):
    rows = booked.get("parts") or [{"row": booked["row"], "seats": booked["seats"]}]
    return [(booked["event"], booked["section"], row["row"], seat) for row in rows for seat in row["seats"]]


def main():
    if len(sys.argv) not in (2, 3, 4):
        sys.exit(__doc__)
    brokers, prefix = sys.argv[1], (sys.argv[2:] or ["frontrow"])[0]
    read = avro(sys.argv[3]) if len(sys.argv) == 4 else lambda message: json.loads(message.value())
    kinds, last = Counter(), {}
    for _, _, it in records(brokers, f"{prefix}.changes", read):
        kinds[it["type"]] += 1
        if it["type"] == "forgotten":
            last = {}
        if it["type"] in ("anew", "forgotten"):
            continue
        of = it["partition"]
        at = (it["epoch"], it["lsn"], it["n"])
        assert at > last.get(of, (0, 0, -1)), f"out of order: {it}"
        last[of] = at
    print(f"{prefix}.changes: {sum(kinds.values())} records, " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()))
    of_event, owner = Counter(), {}
    for booked in bookings(brokers, prefix, read):
        of_event[booked["event"]] += 1
        for seat in seats(booked):
            assert seat not in owner, f"seat {seat} is {owner[seat]['user']}'s and {booked['user']}'s"
            owner[seat] = booked
    for event, count in sorted(of_event.items()):
        print(f"event {event}: {count} bookings of {sum(seat[0] == event for seat in owner)} seats, no seat twice")


if __name__ == "__main__":
    main()
