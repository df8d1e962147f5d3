#!/usr/bin/env python3
"""Consumes messages as Fedora's applications do, up to one with the topic `story.last`; each as a line of JSON.

    hear.py URL QUEUE

The library of fedora-messaging looks for the class that a message names, and drops what that class does not take: the
one of `ci-messages` asks the schemas beside this file.
"""
import json
import os
import sys

from ci_messages.config import CONFIG
from fedora_messaging import api, config, exceptions

SCHEMAS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ci-messages")


def tell(message):
    if message.topic == "story.last":
        raise exceptions.HaltConsumer()
    row = {
        "id": message.id,
        "topic": message.topic,
        "class": type(message).__name__,
        "severity": message.severity,
        "summary": message.summary,
        "url": message.url,
        "headers": message._properties.headers,
        "body": message.body,
    }
    print(json.dumps(row), flush=True)


def main(url, queue):
    config.conf.load_config()  # before anything is set: it would come later, and undo it
    config.conf["amqp_url"] = url + "?connection_attempts=3&retry_delay=1"
    CONFIG.set("main", "schemapath", SCHEMAS)
    flags = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
    bindings = [{"queue": queue, "exchange": "amq.topic", "routing_keys": ["#"]}]
    try:
        api.consume(tell, bindings=bindings, queues={queue: flags})
    except exceptions.HaltConsumer:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
