"""The ticket registry of an embergrid cluster, for a sign-on server: gRPC over mutual TLS.

Calls are made again where a node is not ready, at the next address of the list. Every change carries
a request id, so that making it again changes nothing more.
"""

import os
import threading
import time

import grpc

from embergrid.v1 import cluster_pb2, cluster_pb2_grpc, tickets_pb2, tickets_pb2_grpc

# The longest any single call may take, and how long it is made again.
CALL_SECONDS = 5.0
RETRY_SECONDS = 20.0
PAUSE_SECONDS_MAX = 1.0

# What another node, or the same a moment later, may mend. The request id makes it safe.
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


def refused(error):
    """The code of what the registry said no with: a gRPC status code."""
    return error.code()


class Registry:
    """Tickets, asked of the first node of a list that answers."""

    def __init__(self, addresses, credentials):
        self.addresses = addresses
        channels = [grpc.secure_channel(address, credentials) for address in addresses]
        self.tickets = [tickets_pb2_grpc.TicketServiceStub(channel) for channel in channels]
        self.clusters = [cluster_pb2_grpc.ClusterServiceStub(channel) for channel in channels]
        self.current = 0

    def call(self, stubs, name, request):
        """Makes a call; raises grpc.RpcError with what the registry says otherwise."""
        if "request_id" in request.DESCRIPTOR.fields_by_name:
            request.request_id = os.urandom(16)
        give_up = time.monotonic() + RETRY_SECONDS
        pause = 0.05
        while True:
            asked = self.current
            try:
                return getattr(stubs[asked % len(stubs)], name)(request, timeout=CALL_SECONDS)
            except grpc.RpcError as error:
                if error.code() not in PASSING or time.monotonic() + pause > give_up:
                    raise
            self.current = asked + 1
            time.sleep(pause)
            pause = min(pause * 2, PAUSE_SECONDS_MAX)

    def nodes(self):
        """The names of the nodes of the cluster."""
        topology = self.call(self.clusters, "Topology", cluster_pb2.TopologyRequest())
        return [node.consistent_id for node in topology.nodes]

    def add(self, ticket):
        """Stores a ticket; whether it was stored."""
        request = tickets_pb2.AddTicketRequest(ticket=ticket)
        return self.call(self.tickets, "Add", request).stored

    def get(self, ticket_id, kind):
        """A ticket that lives, or None."""
        request = tickets_pb2.GetTicketRequest(id=ticket_id, kind=kind)
        return self.or_none("Get", request)

    def use(self, ticket_id, kind):
        """Counts a use of a ticket; None where it does not live or its uses are spent."""
        request = tickets_pb2.UseTicketRequest(id=ticket_id, kind=kind)
        return self.or_none("Use", request)

    def update(self, ticket):
        """Replaces a ticket that was read; False where another update came first."""
        request = tickets_pb2.UpdateTicketRequest(ticket=ticket, expected_version=ticket.version)
        try:
            self.call(self.tickets, "Update", request)
            return True
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.ABORTED:
                return False
            raise

    def delete(self, ticket_id):
        """Deletes a ticket with all that descend from it; how many they were."""
        request = tickets_pb2.DeleteTicketRequest(id=ticket_id)
        return self.call(self.tickets, "Delete", request).deleted

    def delete_for_principal(self, principal):
        """Ends every session of a user; how many tickets they were."""
        request = tickets_pb2.DeleteForPrincipalRequest(principal=principal)
        return self.call(self.tickets, "DeleteForPrincipal", request).deleted

    def count(self, **filter):
        """How many tickets live and match."""
        return self.call(self.tickets, "Count", tickets_pb2.CountTicketsRequest(**filter)).count

    def or_none(self, name, request):
        try:
            return self.call(self.tickets, name, request).ticket
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise

    def watch(self, kind, on_event, on_gap):
        """Tells all that happens to tickets of a kind, on a thread of its own, for as long as the
        process lives. Returns when it has begun: what happens from then on is told."""
        begun = threading.Event()
        follow = threading.Thread(
            target=self._follow, args=(kind, on_event, on_gap, begun), daemon=True
        )
        follow.start()
        if not begun.wait(RETRY_SECONDS):
            raise TimeoutError("the watch of tickets did not begin in time")

    def _follow(self, kind, on_event, on_gap, begun):
        token = b""
        gap = False
        # What was told since the last checkpoint, which comes again when the watch is resumed.
        told = set()
        while True:
            request = tickets_pb2.WatchTicketsRequest(kind=kind, resume_token=token)
            stub = self.tickets[self.current % len(self.tickets)]
            try:
                for event in stub.Watch(request):
                    if event.type == tickets_pb2.TicketEvent.CHECKPOINT:
                        token = event.resume_token
                        told.clear()
                        begun.set()
                        if gap:
                            gap = False
                            on_gap()
                        continue
                    mark = (event.ticket.id, event.incarnation, event.type, event.ticket.version)
                    if mark not in told:
                        told.add(mark)
                        on_event(event)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.OUT_OF_RANGE:
                    # Too long away: something may have been missed.
                    token, gap = b"", True
                self.current += 1
                time.sleep(0.1)


def credentials(options):
    """The client's side of mutual TLS, from the flags --cert, --key and --trust."""
    return grpc.ssl_channel_credentials(
        root_certificates=read(options.trust),
        private_key=read(options.key),
        certificate_chain=read(options.cert),
    )


def read(path):
    with open(path, "rb") as file:
        return file.read()


def add_flags(parser):
    """The flags by which a cluster is found."""
    parser.add_argument("--address", action="append", required=True, help="host:port, repeatable")
    parser.add_argument("--cert", required=True, help="the client's certificate (PEM)")
    parser.add_argument("--key", required=True, help="its private key (PEM)")
    parser.add_argument("--trust", required=True, help="the authority's certificate (PEM)")
