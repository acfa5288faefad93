"""A push service that judges nothing: it keeps what our server posts, as the bytes that came.

https on a free port of 127.0.0.1, with an authority of its own. The stand-ins are not used here, so that
nothing of this project stands between our sender and who checks what it sends.
"""

import datetime
import ipaddress
import queue
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Longer than any push.
MAX_BODY_BYTES = 64 * 1024


class Received(NamedTuple):
    """One request. The names of `headers` are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Runs until the `with` ends. `ca_pem` is to be trusted by the sender."""

    def __init__(self, folder: Path) -> None:
        self.requests: queue.Queue[Received] = queue.Queue()
        self.ca_pem, chain_file = make_certificates(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain_file)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self.requests))
        # The handshake is the handler's thread's affair: nobody can hold up the others with it.
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self.server.server_address[1]
        self.origin = f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> "Receiver":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def handler(requests: "queue.Queue[Received]") -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(min(length, MAX_BODY_BYTES))
            headers = {name.lower(): value for name, value in self.headers.items()}
            requests.put(Received(self.command, self.path, headers, body))
            self.send_response(201)
            self.send_header("Location", "/message/1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """What came is in the queue."""

    return Handler


def make_certificates(folder: Path) -> tuple[str, Path]:
    """An authority's certificate, and a file with the chain and key of one that it issued for 127.0.0.1."""
    now = datetime.datetime.now(datetime.timezone.utc)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "interop receiver CA")])

    def certificate(subject: x509.Name, public_key, *extensions: tuple[x509.ExtensionType, bool]) -> str:
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(authority_name)
            .public_key(public_key).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1)))
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    ca_pem = certificate(
        authority_name, authority_key.public_key(), (x509.BasicConstraints(ca=True, path_length=0), True))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf_pem = certificate(
        x509.Name([]), key.public_key(), (address, True), (x509.BasicConstraints(ca=False, path_length=None), True))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain_file = folder / "receiver.pem"
    chain_file.touch(mode=0o600)
    chain_file.write_text(leaf_pem + key.private_bytes(*pem).decode())
    return ca_pem, chain_file
