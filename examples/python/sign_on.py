#!/usr/bin/env python3
"""A whole sign-on, played against a running cluster: two sign-on servers, each of which asks another
node, two applications, and a browser. Every step is checked; the exit code is 0 only if all held.

    python3 examples/python/generate.py target/python-stubs
    PYTHONPATH=target/python:target/python-stubs python3 examples/python/sign_on.py \\
        --address 127.0.0.1:47500 --address 127.0.0.1:47501 \\
        --cert client.pem --key client.key.pem --trust authority.pem
"""

import argparse
import concurrent.futures
import http.client
import http.server
import json
import pathlib
import queue
import subprocess
import sys
import threading
import urllib.parse

import grpc

import registry

START_SECONDS = 30.0
CALL_SECONDS = 30.0


def check(holds, what):
    """Says a step, and ends the story where it does not hold."""
    print(("✓ " if holds else "✗ ") + what, flush=True)
    if not holds:
        sys.exit(1)


class SignOnServer:
    """A sign-on server as a process of its own, which asks one node."""

    def __init__(self, name, address, options):
        self.name = name
        program = pathlib.Path(__file__).with_name("sign_on_server.py")
        self.process = subprocess.Popen(
            [
                *(sys.executable, program, "--address", address, "--cert", options.cert),
                *("--key", options.key, "--trust", options.trust),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        lines = queue.Queue()
        threading.Thread(target=self.read, args=(lines,), daemon=True).start()
        where = lines.get(timeout=START_SECONDS)
        if not where:
            sys.exit(f"✗ {name} did not start")
        url = urllib.parse.urlsplit(where)
        self.host, self.port = url.hostname, url.port

    def read(self, lines):
        """What the server says: first where it listens, then what it does."""
        first = True
        for line in self.process.stdout:
            if first:
                lines.put(line.strip())
                first = False
            else:
                print(f"    {self.name}: {line.rstrip()}", flush=True)
        lines.put("")

    def ask(self, method, path, body=None, cookie=None):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=CALL_SECONDS)
        headers = {"Cookie": cookie} if cookie else {}
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def validate(self, service, ticket):
        """As an application asks: whose ticket is it?"""
        query = urllib.parse.urlencode({"service": service, "ticket": ticket})
        status, _, content = self.ask("GET", f"/validate?{query}")
        return json.loads(content)["user"] if status == 200 else None

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=START_SECONDS)


class Browser:
    """A user's browser: it keeps the cookie of the sign-on."""

    def __init__(self):
        self.cookie = None

    def log_in(self, server, service, user=None, password=None):
        """The ticket that the service is given, or None where the server asks for a password."""
        path = "/login?" + urllib.parse.urlencode({"service": service})
        if user is None:
            status, headers, _ = server.ask("GET", path, cookie=self.cookie)
        else:
            body = urllib.parse.urlencode({"user": user, "password": password})
            status, headers, _ = server.ask("POST", path, body=body, cookie=self.cookie)
        if status != 303:
            return None
        self.cookie = headers["Set-Cookie"].partition(";")[0]
        target = urllib.parse.urlsplit(headers["Location"])
        return urllib.parse.parse_qs(target.query)["ticket"][0]

    def log_out(self, server):
        return json.loads(server.ask("POST", "/logout", cookie=self.cookie)[2])["deleted"]


class Application:
    """An application: it is told when a session ends that it was given a ticket of."""

    def __init__(self):
        told = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers.get("Content-Length") or 0)
                told.put(json.loads(self.rfile.read(length))["logout"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.told = told
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def hears_of(self, tickets):
        """Whether it is told of the end of exactly these tickets."""
        try:
            heard = [self.told.get(timeout=CALL_SECONDS) for _ in tickets]
        except queue.Empty:
            return False
        return sorted(heard) == sorted(tickets)


def sign_on(tickets, servers, mail, calendar):
    first, second = servers
    alice = Browser()
    check(alice.log_in(first, mail.url) is None, f"{first.name} asks a stranger for a password")
    refused = alice.log_in(first, mail.url, "alice", "guessed") is None
    check(refused, "a wrong password is refused")

    ticket = alice.log_in(first, mail.url, "alice", "wonderland")
    check(ticket is not None, f"alice logs in at {first.name}, and mail is given a ticket")
    user = second.validate(mail.url, ticket)
    check(user == "alice", f"mail asks {second.name}, at another node, whose it is: {user}")
    again = first.validate(mail.url, ticket)
    check(again is None, f"it is not good again, at {first.name} either")

    other = alice.log_in(second, calendar.url)
    check(other is not None, f"{second.name} knows the session: calendar needs no password")
    check(first.validate(calendar.url, other) == "alice", "calendar is told the user, too")
    stolen = alice.log_in(first, mail.url)
    check(second.validate(calendar.url, stolen) is None, "calendar cannot show a ticket of mail")

    raced = alice.log_in(second, mail.url)
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        asked = [pool.submit(servers[n % 2].validate, mail.url, raced) for n in range(16)]
        won = sum(1 for answer in asked if answer.result() == "alice")
    check(won == 1, f"of 16 simultaneous validations of one ticket, {won} succeeded")

    unused = alice.log_in(first, calendar.url)
    deleted = alice.log_out(second)
    check(deleted == 2, f"alice logs out at {second.name}: {deleted} tickets are gone")
    check(first.validate(calendar.url, unused) is None, "a ticket that was not used went with them")
    check(alice.log_in(first, mail.url) is None, f"{first.name} asks her for a password again")
    told = mail.hears_of([ticket, stolen, raced]) and calendar.hears_of([other, unused])
    check(told, "mail and calendar are told, of each of their tickets")

    browsers = [Browser() for _ in range(3)]
    given = [
        browser.log_in(servers[n % 2], mail.url, "bob", "builder")
        for n, browser in enumerate(browsers)
    ]
    count = tickets.count(kind="TGT", principal=b"bob")
    check(count == 3, f"bob is logged in with {count} browsers")
    status, _, _ = first.ask("POST", "/logout?user=bob")
    check(status == 200, "an administrator logs bob out everywhere")
    gone = all(browser.log_in(second, mail.url) is None for browser in browsers)
    check(gone and tickets.count(principal=b"bob") == 0, "no session of bob is left")
    check(mail.hears_of(given), "mail is told of each of them")
    check(mail.told.empty() and calendar.told.empty(), "and nobody is told anything twice")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    registry.add_flags(parser)
    options = parser.parse_args()
    tickets = registry.Registry(options.address, registry.credentials(options))
    try:
        play(tickets, options)
    except grpc.RpcError as error:
        sys.exit(f"✗ {error.code().name}: {error.details()}")
    print("all of it held")


def play(tickets, options):
    nodes = tickets.nodes()
    check(len(nodes) >= 1, f"the cluster has {len(nodes)} nodes: {', '.join(nodes)}")
    addresses = [options.address[0], options.address[-1]]
    servers = []
    try:
        for number, address in enumerate(addresses, 1):
            server = SignOnServer(f"server {number}", address, options)
            servers.append(server)
            check(True, f"{server.name} runs on port {server.port} and asks the node at {address}")
        sign_on(tickets, servers, Application(), Application())
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    main()
