#!/usr/bin/env python3
"""A small sign-on server that keeps everything in the ticket registry: run as many as you like.

    GET  /login?service=URL     a ticket for the service, where the browser has a session; else a form
    POST /login?service=URL     the same, with user= and password= in the body
    GET  /validate?service=URL&ticket=ID    whose ticket it is; each ticket is good once
    POST /logout                ends the session of the browser
    POST /logout?user=NAME      ends all sessions of a user

A session is a ticket-granting ticket (TGT); its cookie is its id. Its payload names the services that
were given a ticket. When a session ends, however that came (logout, an operator, or by time), the
registry tells every server, and one of them tells these services: POST {"logout": ticket} to each.

Try it (README has the lines): embergrid demo --keep, and then this with the flags that it prints.
"""

import argparse
import html
import http.server
import json
import secrets
import sys
import threading
import urllib.parse
import urllib.request

import grpc

import registry
from embergrid.v1 import tickets_pb2

# A real server asks a directory.
USERS = {"alice": "wonderland", "bob": "builder"}

COOKIE = "session"
BODY_BYTES_MAX = 64 * 1024
LOGOUT_SECONDS = 5.0
# Longer than any session lives: the note is there when the session ends.
NOTE_SECONDS = 30 * 24 * 3600


class SignOn:
    """What the server does, whatever speaks HTTP to it."""

    def __init__(self, tickets):
        self.tickets = tickets
        tickets.watch("TGT", self.on_event, self.on_gap)

    def log_in(self, user, password):
        """A new session, or None."""
        if not secrets.compare_digest(USERS.get(user, ""), password) or not password:
            return None
        session = "TGT-" + secrets.token_urlsafe(24)
        # Of all servers that hear of the end of the session, one uses this note and tells services.
        note = tickets_pb2.Ticket(id=note_of(session), kind="TST")
        note.expiration.max_uses = 1
        note.expiration.max_time_to_live.FromSeconds(NOTE_SECONDS)
        self.tickets.add(note)
        self.tickets.add(
            tickets_pb2.Ticket(
                id=session.encode(), kind="TGT", principal=user.encode(), payload=b"[]"
            )
        )
        say(f"{user} logs in")
        return session

    def grant(self, session, service):
        """A service ticket for a session, or None where there is no such session."""
        ticket = "ST-" + secrets.token_urlsafe(24)
        while True:
            found = self.tickets.get(session.encode(), "TGT")
            if found is None:
                return None
            granted = json.loads(found.payload) + [{"service": service, "ticket": ticket}]
            found.payload = json.dumps(granted).encode()
            # Another server may grant one to the same session at this moment.
            try:
                if self.tickets.update(found):
                    break
            except grpc.RpcError as error:
                if registry.refused(error) == grpc.StatusCode.NOT_FOUND:
                    return None
                raise
        try:
            self.tickets.add(
                tickets_pb2.Ticket(
                    id=ticket.encode(),
                    kind="ST",
                    principal=found.principal,
                    service=service.encode(),
                    parent_id=session.encode(),
                )
            )
        except grpc.RpcError as error:
            if registry.refused(error) == grpc.StatusCode.FAILED_PRECONDITION:
                return None  # PARENT_GONE: the session has just ended.
            raise
        say(f"a ticket for {service} to {found.principal.decode()}")
        return ticket

    def validate(self, service, ticket):
        """Whose ticket it is, or None. A ticket that is shown to the wrong service is spent, too."""
        try:
            used = self.tickets.use(ticket.encode(), "ST")
        except grpc.RpcError as error:
            if registry.refused(error) == grpc.StatusCode.FAILED_PRECONDITION:
                return None  # WRONG_KIND: some other ticket, which was not used.
            if registry.refused(error) == grpc.StatusCode.INVALID_ARGUMENT:
                return None  # Longer than any id.
            raise
        if used is None or used.service != service.encode():
            return None
        say(f"{service} is told: {used.principal.decode()}")
        return used.principal.decode()

    def log_out(self, session):
        return self.tickets.delete(session.encode())

    def log_out_user(self, user):
        return self.tickets.delete_for_principal(user.encode())

    def on_event(self, event):
        ended = (tickets_pb2.TicketEvent.DELETED, tickets_pb2.TicketEvent.EXPIRED)
        if event.type in ended:
            # The registry goes on telling meanwhile.
            threading.Thread(target=self.end, args=(event.ticket,), daemon=True).start()

    def on_gap(self):
        # Sessions that ended unheard still have their notes; a real server would go through them.
        say("was cut off for long: the end of some sessions may not have been heard of")

    def end(self, session):
        """Tells the services of a session that it is over, unless another server does."""
        if self.tickets.use(note_of(session.id.decode()), "TST") is None:
            return
        for granted in json.loads(session.payload):
            body = json.dumps({"logout": granted["ticket"]}).encode()
            request = urllib.request.Request(granted["service"], data=body, method="POST")
            try:
                urllib.request.urlopen(request, timeout=LOGOUT_SECONDS).close()
                say(f"{granted['service']} is told that {session.principal.decode()} is gone")
            except OSError as error:
                say(f"{granted['service']} could not be told: {error}")


def note_of(session):
    return b"SLO-" + session.encode()


def say(what):
    print(what, flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    """One request of a browser or of a service."""

    def do_GET(self):
        path, query = self.target()
        if path == "/login":
            self.grant(self.session(), query.get("service"))
        elif path == "/validate":
            user = self.server.sign_on.validate(query.get("service", ""), query.get("ticket", ""))
            self.answer(200 if user else 403, {"user": user})
        else:
            self.answer(404, {"error": "no such page"})

    def do_POST(self):
        path, query = self.target()
        if path == "/login":
            given = self.body()
            session = self.server.sign_on.log_in(given.get("user", ""), given.get("password", ""))
            self.grant(session, query.get("service"))
        elif path == "/logout" and "user" in query:
            # A real server asks for an administrator's rights here.
            self.answer(200, {"deleted": self.server.sign_on.log_out_user(query["user"])})
        elif path == "/logout":
            session = self.session()
            self.answer(200, {"deleted": self.server.sign_on.log_out(session) if session else 0})
        else:
            self.answer(404, {"error": "no such page"})

    def grant(self, session, service):
        """To the service with a ticket; or the form, where there is no session."""
        if session is None:
            self.form(service)
        elif service is None:
            self.answer(200, {"session": "open"}, session)
        else:
            ticket = self.server.sign_on.grant(session, service)
            if ticket is None:
                self.form(service)
                return
            join = "&" if "?" in service else "?"
            self.send_response(303)
            self.send_header("Location", f"{service}{join}ticket={ticket}")
            self.cookie(session)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def form(self, service):
        target = "/login" + (f"?service={urllib.parse.quote(service, safe='')}" if service else "")
        page = (
            f"<form method=post action='{html.escape(target)}'><input name=user>"
            "<input name=password type=password><button>Log in</button></form>"
        ).encode()
        self.send_response(401)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def answer(self, status, document, session=None):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if session:
            self.cookie(session)
        self.end_headers()
        self.wfile.write(body)

    def cookie(self, session):
        # Over HTTPS, which a real server speaks, add Secure.
        self.send_header("Set-Cookie", f"{COOKIE}={session}; HttpOnly; SameSite=Lax; Path=/")

    def session(self):
        for part in self.headers.get("Cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE and value:
                return value
        return None

    def target(self):
        url = urllib.parse.urlsplit(self.path)
        return url.path, dict(urllib.parse.parse_qsl(url.query))

    def body(self):
        length = min(int(self.headers.get("Content-Length") or 0), BODY_BYTES_MAX)
        return dict(urllib.parse.parse_qsl(self.rfile.read(length).decode(errors="replace")))

    def log_message(self, *_):
        """What matters is said by SignOn."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    registry.add_flags(parser)
    parser.add_argument("--port", type=int, default=0, help="where to listen on 127.0.0.1; 0: any")
    options = parser.parse_args()
    tickets = registry.Registry(options.address, registry.credentials(options))
    server = Server(("127.0.0.1", options.port), Handler)
    server.sign_on = SignOn(tickets)
    say(f"http://127.0.0.1:{server.server_address[1]}/login")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
