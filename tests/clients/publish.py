#!/usr/bin/env python3
"""Publishes messages as Fedora's applications do, with the fedora_messaging library, and broken ones besides.

    publish.py URL messages.jsonl --duplicates 50 --broken 16 --rate 100

Good messages are sent one by one, each until it is confirmed, also over a restart of the broker: a publisher that
does not know whether the broker has its message sends it again. Duplicates have the same id and body as a message
that was sent before. The library refuses to send what is broken, so that goes through pika, within the first third of
the good messages; `--from N` begins with the Nth broken one. The last line is a JSON object of counts.
"""
import argparse
import json
import os
import random
import sys
import time
import uuid

import crochet
import pika
from fedora_messaging import api, config, exceptions

EXCHANGE = "amq.topic"
PATIENCE = 120  # seconds, for one message

# What a broken message has instead of a good one's: (kind, body, properties). {n} makes bodies differ.
GOOD = b'{"n": %d}'
BROKEN = [
    ("not-json", b"n = %d", {}),
    ("truncated", b'{"n": %d', {}),
    ("empty", b"", {}),
    ("bad-utf8", b'{"n": %d, "text": "\xc3\x28 \xff"}', {}),
    ("json-array", b"[%d]", {}),
    ("json-null", b"null", {}),
    ("deep", b'{"n":' * 5000 + b"%d" + b"}" * 5000, {}),
    ("unknown-encoding", GOOD, {"content_encoding": "utf-99"}),
    # A consumer has to live with these; each is an event like any other.
    ("wrong-content-type", GOOD, {"content_type": "text/plain"}),
    ("giant", b'{"n": %d, "pad": "' + b"x" * (1 << 20) + b'"}', {}),
    ("no-id", GOOD, {"message_id": None}),
    ("odd-id", GOOD, {"message_id": "no uuid ../\n'\" " + "i" * 150}),
    ("no-headers", GOOD, {"headers": None}),
    ("odd-headers", GOOD, {"headers": {"sent-at": "tomorrow", "fedora_messaging_severity": [1], "priority": "high"}}),
    ("bare", GOOD, {"content_type": None, "content_encoding": None, "message_id": None, "headers": None}),
    ("same-key-twice", b'{"n": 0, "n": %d}', {}),
]


def broken(n):
    """The nth broken message: topic, body, properties."""
    kind, body, different = BROKEN[n % len(BROKEN)]
    body = body.replace(b"%d", b"%d" % n)
    properties = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "message_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"broken:{n}")),
        "headers": {"fedora_messaging_schema": "base.message", "fedora_messaging_severity": 20},
        **different,
    }
    if properties["message_id"] and kind == "odd-id":
        properties["message_id"] += str(n)
    return f"broken.{kind}", body, pika.BasicProperties(**properties)


def good(number, line):
    """A line of the file as a message of the library; what has no id gets the same one in every run."""
    row = json.loads(line)
    message = api.Message(topic=row["topic"], body=row["body"])
    message.id = row["id"] or str(uuid.uuid5(uuid.NAMESPACE_URL, f"line:{number}"))
    return message


def publish(message):
    """Returns how often it had to be sent."""
    end = time.monotonic() + PATIENCE
    tries = 0
    while True:
        tries += 1
        try:
            api.publish(message, exchange=EXCHANGE, timeout=5)
            return tries
        except (exceptions.PublishException, exceptions.PublishTimeout, exceptions.ConnectionException):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("file", nargs="?")
    arguments.add_argument("--duplicates", type=int, default=0)
    arguments.add_argument("--broken", type=int, default=0)
    arguments.add_argument("--from", dest="first", type=int, default=0)
    arguments.add_argument("--rate", type=float, default=100, help="good messages a second, at most")
    given = arguments.parse_args()
    chance = random.Random(1)
    config.conf.load_config()  # before anything is set: it would come later, and undo it
    config.conf["amqp_url"] = given.url + "?connection_attempts=3&retry_delay=1"
    crochet.setup()

    connection = pika.BlockingConnection(pika.URLParameters(given.url))
    channel = connection.channel()
    channel.confirm_delivery()
    lines = list(open(given.file, encoding="utf-8")) if given.file else []
    plan = [("good", n) for n in range(len(lines))]
    for n in chance.sample(range(len(lines)), given.duplicates):
        plan.insert(chance.randint(plan.index(("good", n)) + 1, len(plan)), ("duplicate", n))
    for n in range(given.first, given.first + given.broken):
        plan.insert(chance.randint(0, len(lines) // 3), ("broken", n))

    counts = {"good": 0, "duplicate": 0, "broken": 0, "again": 0}
    begin = time.monotonic()
    for what, n in plan:
        if what == "broken":
            topic, body, properties = broken(n)
            channel.basic_publish(EXCHANGE, topic, body, properties)
        else:
            time.sleep(max(0.0, begin + counts["good"] / given.rate - time.monotonic()))
            counts["again"] += publish(good(n, lines[n])) - 1
        counts[what] += 1
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # the library's own thread would keep the process
        print(f"publish.py: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)
