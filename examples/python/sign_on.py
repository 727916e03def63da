#!/usr/bin/env python3
"""A sign-on flow against a running cluster, over mutual TLS, with plain cache calls.

A user logs in, applications get service tickets, each ticket is used once, the user logs out.
The flow is checked at every node; the exit code is 0 only if all of it held.

    python3 examples/python/generate.py target/python-stubs
    PYTHONPATH=target/python:target/python-stubs python3 examples/python/sign_on.py \\
        --address 127.0.0.1:47500 --address 127.0.0.1:47501 \\
        --cert client.pem --key client.key.pem --trust authority.pem
"""

import argparse
import concurrent.futures
import os
import sys
import time

import grpc

from embergrid.v1 import cache_pb2, cache_pb2_grpc, cluster_pb2, cluster_pb2_grpc

# The longest any single call may take, and how long a node that is not ready is asked again.
CALL_SECONDS = 5.0
RETRY_SECONDS = 20.0

SESSION_LIVES = 8 * 3600
SESSION_IDLES = 2 * 3600
TICKET_LIVES = 30

SESSIONS = "python-sessions"
TICKETS = "python-service-tickets"


class Node:
    """One node, asked directly."""

    def __init__(self, address, credentials):
        self.address = address
        self.channel = grpc.secure_channel(address, credentials)
        self.cache = cache_pb2_grpc.CacheServiceStub(self.channel)
        self.cluster = cluster_pb2_grpc.ClusterServiceStub(self.channel)


def call(method, request):
    """Makes a call; again where the node is not ready. Writes carry an id, so this is safe."""
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        request.request_id = os.urandom(16)
    give_up = time.monotonic() + RETRY_SECONDS
    pause = 0.05
    while True:
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            again = error.code() == grpc.StatusCode.UNAVAILABLE
            if not again or time.monotonic() + pause > give_up:
                raise
            time.sleep(pause)
            pause = min(pause * 2, 1.0)


def check(holds, what):
    """Says a step, and ends the story where it does not hold."""
    print(("✓ " if holds else "✗ ") + what, flush=True)
    if not holds:
        sys.exit(1)


def create_caches(node):
    sessions = cluster_pb2.CacheSettings(
        name=SESSIONS, mode=cluster_pb2.REPLICATED, atomicity_mode=cluster_pb2.ATOMIC, partitions=64
    )
    sessions.time_to_live.FromSeconds(SESSION_LIVES)
    sessions.time_to_idle.FromSeconds(SESSION_IDLES)
    tickets = cluster_pb2.CacheSettings(
        name=TICKETS, mode=cluster_pb2.PARTITIONED, atomicity_mode=cluster_pb2.ATOMIC, partitions=64
    )
    tickets.time_to_live.FromSeconds(TICKET_LIVES)
    for settings in (sessions, tickets):
        call(node.cluster.CreateCache, cluster_pb2.CreateCacheRequest(settings=settings))


def put(node, cache, key, value):
    """Stores a key that must be new."""
    request = cache_pb2.PutRequest(cache=cache, key=key, value=value)
    request.condition.absent = True
    return call(node.cache.Put, request).applied


def get(node, cache, key):
    """The entry of a key, or None."""
    reply = call(node.cache.Get, cache_pb2.GetRequest(cache=cache, key=key))
    return reply.entry if reply.HasField("entry") else None


def take(node, cache, key):
    """Removes a key and returns what it held, or None. Of all callers, one gets it."""
    request = cache_pb2.RemoveRequest(cache=cache, key=key, return_previous=True)
    reply = call(node.cache.Remove, request)
    return reply.previous.value if reply.applied else None


def sign_on(nodes):
    first, last = nodes[0], nodes[-1]
    token = os.urandom(8).hex()
    session = f"TGT-{token}".encode()

    topology = call(first.cluster.Topology, cluster_pb2.TopologyRequest())
    names = ", ".join(node.consistent_id for node in topology.nodes)
    check(len(topology.nodes) >= 1, f"the cluster has {len(topology.nodes)} nodes: {names}")
    create_caches(first)

    check(put(first, SESSIONS, session, b"alice"), f"alice logs in at {first.address}")
    check(not put(last, SESSIONS, session, b"mallory"), "the same session cannot be opened twice")
    for node in nodes:
        entry = get(node, SESSIONS, session)
        check(entry is not None and entry.value == b"alice", f"{node.address} knows the session")

    for application in ("mail", "calendar"):
        ticket = f"ST-{application}-{token}".encode()
        check(put(first, TICKETS, ticket, session), f"a service ticket for {application} is issued")
        check(take(last, TICKETS, ticket) == session, f"{application} uses it at {last.address}")
        check(take(first, TICKETS, ticket) is None, "it cannot be used again")

    ticket = f"ST-race-{token}".encode()
    put(first, TICKETS, ticket, session)
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        uses = [pool.submit(take, nodes[n % len(nodes)], TICKETS, ticket) for n in range(16)]
        won = sum(1 for use in uses if use.result() is not None)
    check(won == 1, f"of 16 simultaneous uses of one ticket, {won} succeeded")

    removed = call(last.cache.Remove, cache_pb2.RemoveRequest(cache=SESSIONS, key=session))
    check(removed.applied, f"alice logs out at {last.address}")
    for node in nodes:
        check(get(node, SESSIONS, session) is None, f"{node.address} does not know the session")

    try:
        first.cache.Get(cache_pb2.GetRequest(cache=SESSIONS, key=b""), timeout=CALL_SECONDS)
        refused = False
    except grpc.RpcError as error:
        refused = error.code() == grpc.StatusCode.INVALID_ARGUMENT
    check(refused, "an empty key is refused with INVALID_ARGUMENT")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", action="append", required=True, help="host:port, repeatable")
    parser.add_argument("--cert", required=True, help="the client's certificate (PEM)")
    parser.add_argument("--key", required=True, help="its private key (PEM)")
    parser.add_argument("--trust", required=True, help="the authority's certificate (PEM)")
    options = parser.parse_args()
    credentials = grpc.ssl_channel_credentials(
        root_certificates=read(options.trust),
        private_key=read(options.key),
        certificate_chain=read(options.cert),
    )
    try:
        sign_on([Node(address, credentials) for address in options.address])
    except grpc.RpcError as error:
        sys.exit(f"✗ {error.code().name}: {error.details()}")
    print("all of it held")


if __name__ == "__main__":
    main()
