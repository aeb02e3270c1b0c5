"""Makes the certificates of the etcd of the chart and renews those half through. A job runs this before an upgrade.

Three Secrets: the authority with its key, which no pod mounts; the members' certificate; the daemon's certificate.
etcd and the daemon read the files again, so a renewed certificate restarts nothing.
"""

import base64
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAME = os.environ["ETCD_NAME"]
NAMESPACE = os.environ["ETCD_NAMESPACE"]
MEMBERS = os.environ["ETCD_MEMBERS"].split(",")
OWNER = os.environ["ETCD_OWNER"]
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Longer than anyone runs it without an upgrade: an etcd whose certificates have ended stops the kill switch.
AUTHORITY = timedelta(days=20 * 365)
CERTIFICATE = timedelta(days=10 * 365)
NOW = datetime.now(UTC)
Secret = dict[str, bytes]


def api(method: str, path: str, body: object = None) -> dict[str, Any] | None:
    """One call of the Kubernetes API; None if there is no such object. Ends the script on any other refusal."""
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps(body).encode()
    trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
    request = urllib.request.Request(f"{server}/api/v1/namespaces/{NAMESPACE}/{path}", sent, headers, method=method)
    try:
        with opener.open(request, timeout=20) as answer:
            document: dict[str, Any] = json.load(answer)
            return document
    except urllib.error.HTTPError as error:
        if error.code == 404 and method == "GET":
            return None
        sys.exit(f"{method} {path}: HTTP {error.code}: {error.read(500).decode(errors='replace')}")


def stored(part: str) -> Secret | None:
    """The files of a Secret."""
    document = api("GET", f"secrets/{NAME}-{part}")
    return document and {name: base64.b64decode(text) for name, text in document.get("data", {}).items()}


def store(part: str, files: Secret, *, new: bool) -> None:
    """Make the Secret, or replace it."""
    name = f"{NAME}-{part}"
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": OWNER}},
        "data": {file: base64.b64encode(content).decode() for file, content in files.items()},
    }
    api(*(("POST", "secrets") if new else ("PUT", f"secrets/{name}")), document)
    sys.stdout.write(f"{'made' if new else 'renewed'} {name}\n")


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def builder(subject: str, issuer: str, key: ec.EllipticCurvePublicKey, end: datetime) -> x509.CertificateBuilder:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))  # clocks differ
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def new_authority() -> Secret:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        builder(f"{NAME}-ca", f"{NAME}-ca", key.public_key(), NOW + AUTHORITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return {"ca.crt": certificate.public_bytes(serialization.Encoding.PEM), "ca.key": pem(key)}


def issued(part: str, authority: Secret) -> Secret:
    """A certificate by the authority. etcd's own has the members' names; the daemon's has none.

    etcd looks up each name in a client's certificate, and refuses the client if none is its address. The members' is a
    client's, too: of each other, and of itself, because etcd's HTTP gateway calls etcd.
    """
    signer = serialization.load_pem_private_key(authority["ca.key"], None)
    issuer = x509.load_pem_x509_certificate(authority["ca.crt"])
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        sys.exit(f"the Secret {NAME}-ca holds no key of ours; delete it, and {NAME}-server and {NAME}-client")
    key = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    end = min(NOW + CERTIFICATE, issuer.not_valid_after_utc)
    made = builder(f"{NAME}-{part}", f"{NAME}-ca", key.public_key(), end).add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    if part == "server":
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names = [*(x509.DNSName(one) for one in (*MEMBERS, "localhost")), x509.IPAddress(ip_address("127.0.0.1"))]
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = made.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    certificate = made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return {"ca.crt": authority["ca.crt"], "tls.crt": certificate, "tls.key": pem(key)}


def current(files: Secret, authority: Secret) -> bool:
    """By this authority, and less than half through."""
    end = x509.load_pem_x509_certificate(files["tls.crt"]).not_valid_after_utc
    return files["ca.crt"] == authority["ca.crt"] and end - NOW > CERTIFICATE / 2


authority = stored("ca")
if authority is None:
    authority = new_authority()
    store("ca", authority, new=True)
for part in ("server", "client"):
    files = stored(part)
    if files is None or not current(files, authority):
        store(part, issued(part, authority), new=files is None)
    else:
        sys.stdout.write(f"kept {NAME}-{part}\n")
