import base64
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import logging
import os
import re
import secrets
import ssl
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import paramiko
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

logger = logging.getLogger(__name__)

SERIAL = re.compile(r'[A-Z]{2}\d{8}')
CERT_DAYS = 397
CLAIM_MINUTES = 15


class EnrollError(Exception):
    def __init__(self, code: str, detail: str = ''):
        super().__init__(detail or code)
        self.code = code


def load_ca(folder: Path) -> Tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    cert = x509.load_pem_x509_certificate((folder / 'ca.pem').read_bytes())
    key = serialization.load_pem_private_key(
        (folder / 'ca.key').read_bytes(),
        password=os.environ['FLEET_CA_PASSPHRASE'].encode(),
    )
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise EnrollError('ca_key', 'CA key is not an EC key')
    if key.public_key().public_numbers() != cert.public_key().public_numbers():
        raise EnrollError('ca_key', 'CA key and certificate differ')
    return cert, key


def write_private_key(key, target: Path, passphrase: bytes) -> None:
    """Store a private key next to its certificate."""
    data = key.private_bytes(
        encoding=serialization.Encoding.PEM,
        format=serialization.PrivateFormat.PKCS8,
        encryption_algorithm=serialization.BestAvailableEncryption(passphrase),
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=str(target.parent), prefix='.key')
    try:
        with os.fdopen(fd, 'wb') as out:
            out.write(data)
        os.chmod(name, 0o600)
        os.replace(name, str(target))
    except OSError:
        os.unlink(name)
        raise


def gateway_keypair(kind: str = 'rsa'):
    """Make the key pair of a new site gateway."""
    if kind == 'rsa':
        return rsa.generate_private_key(public_exponent=65537, key_size=3072)
    if kind == 'ec':
        return ec.generate_private_key(ec.SECP256R1())
    raise EnrollError('kind', 'unknown key kind %r' % kind)


class Enroller:
    """Turns a device's certificate request into a certificate."""

    def __init__(self, ca_dir: Path, claims, audit) -> None:
        self.ca_cert, self.ca_key = load_ca(ca_dir)
        self.claims = claims
        self.audit = audit

    def open_claim(self, serial: str, operator: str) -> str:
        """Give an operator a claim code to type into the device."""
        if not SERIAL.fullmatch(serial):
            raise EnrollError('serial')
        code = base64.b32encode(secrets.token_bytes(10)).decode()
        until = dt.datetime.utcnow() + dt.timedelta(minutes=CLAIM_MINUTES)
        self.claims[serial] = {'code': code, 'until': until, 'by': operator}
        self.audit.add('claim', serial=serial, operator=operator)
        return '-'.join(code[i:i + 4] for i in range(0, len(code), 4))

    def redeem(self, serial: str, typed: str, pem: bytes) -> bytes:
        claim = self.claims.get(serial)
        if claim is None or claim['until'] < dt.datetime.utcnow():
            raise EnrollError('claim')
        given = typed.replace('-', '').upper()
        if not hmac.compare_digest(given.encode(), claim['code'].encode()):
            claim['misses'] = claim.get('misses', 0) + 1
            if claim['misses'] >= 5:
                del self.claims[serial]
            raise EnrollError('claim')
        del self.claims[serial]
        csr = self.check_request(pem, serial)
        cert = self.issue(csr, serial)
        self.audit.add('issued', serial=serial, number=format(cert.serial_number, 'x'))
        return cert.public_bytes(serialization.Encoding.PEM)

    def check_request(self, pem: bytes, serial: str) -> x509.CertificateSigningRequest:
        """Read a request and see that it belongs to the device."""
        try:
            csr = x509.load_pem_x509_csr(pem)
        except ValueError:
            raise EnrollError('csr', 'request cannot be read')
        if not csr.is_signature_valid:
            raise EnrollError('csr', 'request is not signed by its key')
        names = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if len(names) != 1 or names[0].value != serial:
            raise EnrollError('csr', 'request names another device')
        public = csr.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            if public.key_size < 2048:
                raise EnrollError('csr', 'RSA key of %d bits' % public.key_size)
        elif not isinstance(public, ec.EllipticCurvePublicKey) or public.key_size < 256:
            raise EnrollError('csr', 'unsupported key')
        return csr

    def issue(self, csr: x509.CertificateSigningRequest, serial: str) -> x509.Certificate:
        now = dt.datetime.utcnow()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial)]))
            .issuer_name(self.ca_cert.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=CERT_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        return builder.sign(self.ca_key, hashes.SHA256())


def broker_context(ca_file: str, cert: str, key: str) -> ssl.SSLContext:
    """Server side of the device broker: each device shows its certificate."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.minimum_version = ssl.TLSVersion.TLSv1_2
    ctx.set_ciphers('ECDHE+AESGCM:ECDHE+CHACHA20')
    ctx.load_cert_chain(cert, key)
    ctx.load_verify_locations(cafile=ca_file)
    ctx.verify_mode = ssl.CERT_REQUIRED
    return ctx


def seal_config(shared: bytes, serial: str, config: Dict) -> bytes:
    """Encrypt a device's first configuration."""
    salt = os.urandom(16)
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=b'fleet-config').derive(shared)
    nonce = os.urandom(12)
    body = json.dumps(config, sort_keys=True).encode('utf-8')
    sealed = AESGCM(key).encrypt(nonce, body, serial.encode('ascii'))
    return salt + nonce + sealed


def wrap_unit_key(device_public: rsa.RSAPublicKey, unit_key: bytes) -> str:
    """Encrypt a unit key to an older RSA-only device, as base64."""
    if len(unit_key) not in (16, 32):
        raise EnrollError('unit_key')
    sealed = device_public.encrypt(
        unit_key,
        padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None),
    )
    return base64.b64encode(sealed).decode('ascii')


def encrypt_log(key: bytes, chunk: bytes) -> bytes:
    """Stream format of firmware 2.x: iv, body, mac."""
    if len(key) != 64:
        raise EnrollError('log_key', '%d bytes' % len(key))
    iv = os.urandom(16)
    enc = Cipher(algorithms.AES(key[:32]), modes.CTR(iv)).encryptor()
    body = enc.update(chunk) + enc.finalize()
    mac = hmac.new(key[32:], iv + body, hashlib.sha256).digest()
    return iv + body + mac


def install_firmware(image: Path, signature: bytes, signer: ec.EllipticCurvePublicKey, slot: Path) -> str:
    """Put a firmware image into the slot and return its digest."""
    data = image.read_bytes()
    try:
        signer.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        logger.warning('image %s: signature does not fit', image.name)
        raise EnrollError('firmware')
    digest = hashlib.sha256(data).hexdigest()
    part = slot.with_suffix('.part')
    part.write_bytes(data)
    os.replace(str(part), str(slot))
    logger.info('image %s in slot %s (%s)', image.name, slot.name, digest[:12])
    return digest


def push_bundle(host: str, user: str, key_file: str, known: str, files: List[Tuple[str, str]]) -> int:
    """Copy files to a gateway by SFTP; returns how many arrived."""
    client = paramiko.SSHClient()
    client.load_host_keys(known)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.connect(host, username=user, key_filename=key_file, timeout=15, allow_agent=False)
    done = 0
    try:
        sftp = client.open_sftp()
        for local, remote in files:
            sftp.put(local, remote)
            done += 1
    except (OSError, paramiko.SSHException) as exc:
        logger.error('%s: stopped after %d files: %s', host, done, exc)
    finally:
        client.close()
    return done


def site_subnet(index: int, pool: str = '10.64.0.0/12', prefix: int = 24) -> Optional[str]:
    """The subnet a site with this index gets."""
    network = ipaddress.ip_network(pool)
    count = 2 ** (prefix - network.prefixlen)
    if not 0 <= index < count:
        return None
    base = int(network.network_address) + index * 2 ** (32 - prefix)
    return '%s/%d' % (ipaddress.ip_address(base), prefix)
