#!/usr/bin/env python3
"""An authentication helper for Quintain: users from a JSON file, CHAP with all algorithms, mutual CHAP.

    auth-helper.py SOCKET USERS

Listens on the Unix socket SOCKET (made with mode 0600). USERS, which only its owner may read, says who may log in:

    {
      "users":  {"alice": {"secret": "alice's long secret",
                           "targets": ["iqn.2026-11.org.example:vm1"],
                           "acl": "iqn.2026-11.org.example:template"},
                 "bob":   {"secret_hex": "00112233445566778899aabb"}},
      "target": {"name": "target", "secret": "the target's own secret"},
      "open":   ["iqn.2026-11.org.example:installer"],
      "deny":   ["iqn.2026-11.org.example:stolen"]
    }

"targets" names what a user may use (without it: every target, and discovery); "acl" the node ACL by which it is served.
"open" and "deny" are initiators that need no authentication, and that are not let in at all. All but "users" may be
left out. The file is read again when it changes; one that cannot be read lets nobody in until it can.

The protocol is described in docs/guides/authentication-helper.md. Python 3.8 or later, nothing else.
"""

import hashlib
import hmac
import json
import os
import socket
import stat
import sys
import threading

PROTOCOL = 1
MAX_LINE_BYTES = 64 * 1024
DIGESTS = {
    "md5": hashlib.md5,
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
    "sha3-256": hashlib.sha3_256,
}


class Refused(Exception):
    """No; and why, in a word of the protocol."""


class Users:
    """The file of users, read again when it has changed."""

    def __init__(self, path):
        self.path = path
        self.lock = threading.Lock()
        self.seen = None
        self.data = None

    def now(self):
        with self.lock:
            try:
                with open(self.path, "rb") as file:
                    found = os.fstat(file.fileno())
                    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                        raise PermissionError("others may read it; chmod 600")
                    seen = (found.st_ino, found.st_mtime_ns, found.st_size)
                    if seen != self.seen:
                        self.data = parse(json.load(file))
                        self.seen = seen
            except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                self.seen = self.data = None
                # Of what is wrong in the file only the kind: the text of an error may quote it.
                what = error if isinstance(error, OSError) else type(error).__name__
                tell(f"{self.path}: cannot be used: {what}")
                raise Refused("unavailable") from None
            return self.data


def parse(data):
    users = {name: parse_user(user) for name, user in data["users"].items()}
    target = data.get("target")
    return {
        "users": users,
        "target": target and (target["name"], secret_of(target)),
        "open": frozenset(data.get("open", [])),
        "deny": frozenset(data.get("deny", [])),
    }


def parse_user(user):
    targets = user.get("targets")
    return {
        "secret": secret_of(user),
        "targets": None if targets is None else frozenset(targets),
        "acl": user.get("acl"),
    }


def secret_of(entry):
    if "secret_hex" in entry:
        secret = bytes.fromhex(entry["secret_hex"])
    else:
        secret = entry["secret"].encode()
    if not secret:
        raise ValueError("an empty secret")
    return secret


def policy(users, asked):
    """How must this initiator authenticate itself?"""
    data = users.now()
    if asked["initiator"] in data["deny"]:
        raise Refused("not_authorized")
    if asked["initiator"] in data["open"]:
        return {"open": True}
    mutual = "allowed" if data["target"] else "never"
    return {"chap": {"algorithms": list(reversed(DIGESTS)), "mutual": mutual}}


def verify(users, asked):
    """Is this response right?"""
    data = users.now()
    if asked["initiator"] in data["deny"]:
        raise Refused("not_authorized")
    given = bytes.fromhex(asked["response"])

    def response(secret, question):
        digest = DIGESTS[asked["algorithm"]]
        challenge = bytes.fromhex(question["challenge"])
        return digest(bytes([question["identifier"]]) + secret + challenge).digest()

    def is_right(secret):
        return hmac.compare_digest(response(secret, asked), given)

    user = data["users"].get(asked["name"])
    # An unknown user costs the same computation, so that the time does not tell.
    right = is_right(user["secret"] if user else bytes(16))
    # RFC 7143 12.1.3: a response that the target would have given itself is none: one secret in both directions.
    if data["target"] and is_right(data["target"][1]):
        raise Refused("same_secret")
    if user is None:
        raise Refused("unknown_user")
    if not right:
        raise Refused("wrong_response")
    if user["targets"] is not None and asked["target"] not in user["targets"]:
        raise Refused("not_authorized")
    verdict = {"allow": True}
    if user["acl"]:
        verdict["acl"] = user["acl"]
    if asked["mutual"]:
        if not data["target"]:
            raise Refused("mutual_not_configured")
        name, secret = data["target"]
        verdict["mutual"] = {"name": name, "response": response(secret, asked["mutual"]).hex()}
    return verdict


def answer(users, line):
    """The line that answers this one. None: the connection is not worth going on with."""
    question = json.loads(line)
    if "hello" in question:
        if question["hello"]["protocol"] != PROTOCOL:
            return None
        return {"hello": {"protocol": PROTOCOL, "algorithms": list(DIGESTS), "mutual": True}}
    for kind, decide, key in (("policy", policy, "policy"), ("verify", verify, "verdict")):
        if kind in question:
            try:
                decision = decide(users, question[kind])
            except Refused as refused:
                decision = {"deny": str(refused)}
            return {"id": question["id"], key: decision}
    return None


def serve(users, connection):
    """One connection, until it ends. Whatever is wrong with it ends it."""
    with connection, connection.makefile("rb") as lines:
        try:
            while True:
                line = lines.readline(MAX_LINE_BYTES + 1)
                if not line.endswith(b"\n"):
                    return
                said = answer(users, line)
                if said is None:
                    return
                connection.sendall(json.dumps(said).encode() + b"\n")
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return


def listen(path):
    """A socket that was never there with another mode than 0600. What a killed helper left behind is replaced."""
    os.umask(0o177)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
    except OSError:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(path) == 0:
                raise
        os.unlink(path)
        listener.bind(path)
    listener.listen()
    return listener


def tell(line):
    print(f"auth-helper: {line}", file=sys.stderr, flush=True)


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: auth-helper.py SOCKET USERS")
    users = Users(sys.argv[2])
    try:
        users.now()
    except Refused:
        sys.exit(1)
    try:
        listener = listen(sys.argv[1])
    except OSError as error:
        sys.exit(f"auth-helper: {sys.argv[1]}: {error}")
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(users, connection), daemon=True).start()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
