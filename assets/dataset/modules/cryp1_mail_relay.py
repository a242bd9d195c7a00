"""Outgoing relay and inbound poller for the ticket mailboxes."""
import email
import email.policy
import hashlib
import hmac
import imaplib
import logging
import os
import poplib
import random
import secrets
import smtplib
import socket
import ssl
import time
from email.message import EmailMessage
from email.utils import formataddr, make_msgid

from ldap3 import ALL, Connection, Server, Tls

log = logging.getLogger("tickets.mail")

DEFAULT_TIMEOUT = 20
MAX_ATTACHMENT = 8 * 1024 * 1024
REPLY_TAG_LEN = 32


class MailError(Exception):
    pass


def build_client_context(cafile=None, certfile=None, keyfile=None):
    """Return the TLS settings every outgoing connection shares."""
    context = ssl.create_default_context(cafile=cafile)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certfile:
        if not os.path.isfile(certfile):
            raise MailError("client certificate %s is missing" % certfile)
        context.load_cert_chain(certfile, keyfile)
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def backoff(attempt, base=0.5, ceiling=30.0):
    """Seconds to wait before the next try."""
    delay = min(ceiling, base * (2 ** attempt))
    return delay * (0.5 + random.random() / 2)


class RelaySettings:
    """Where mail leaves the house; read once at start-up."""

    def __init__(self, env=None):
        env = os.environ if env is None else env
        self.host = env.get("RELAY_HOST", "relay.internal")
        self.port = int(env.get("RELAY_PORT", "587"))
        self.user = env.get("RELAY_USER", "tickets")
        self.password = env["RELAY_PASSWORD"]
        self.cafile = env.get("RELAY_CA") or None
        self.tag_key = bytes.fromhex(env["RELAY_TAG_KEY"])
        if len(self.tag_key) < 32:
            raise MailError("RELAY_TAG_KEY must be 32 bytes or more")


class Outbox:
    """Sends queued messages through the relay."""

    def __init__(self, settings):
        self.settings = settings
        self.sent = 0
        self.failed = 0

    def _connect(self):
        """Open a session with the relay and log in."""
        cfg = self.settings
        context = build_client_context(cfg.cafile)
        client = smtplib.SMTP(cfg.host, cfg.port, timeout=DEFAULT_TIMEOUT)
        try:
            client.ehlo()
            client.starttls(context=context)
            client.ehlo()
            client.login(cfg.user, cfg.password)
        except (smtplib.SMTPException, OSError):
            client.close()
            raise
        log.debug("relay session open as %s at %s:%d", cfg.user, cfg.host, cfg.port)
        return client

    def flush(self, messages, attempts=4):
        """Send every message, retrying the connection a few times."""
        pending = list(messages)
        for attempt in range(attempts):
            if not pending:
                break
            try:
                client = self._connect()
            except (smtplib.SMTPException, OSError) as exc:
                log.warning("relay not reachable (%s), attempt %d", type(exc).__name__, attempt + 1)
                time.sleep(backoff(attempt))
                continue
            try:
                while pending:
                    client.send_message(pending[0])
                    pending.pop(0)
                    self.sent += 1
            except smtplib.SMTPServerDisconnected:
                log.warning("relay hung up with %d messages left", len(pending))
            finally:
                client.close()
        self.failed += len(pending)
        return pending

    def compose(self, ticket, body, recipients):
        """Build the message for one ticket with its reply address."""
        msg = EmailMessage(policy=email.policy.SMTP)
        msg["Subject"] = "[#%d] %s" % (ticket.number, ticket.title)
        msg["From"] = formataddr(("Support", self.reply_address(ticket.number)))
        msg["To"] = ", ".join(recipients)
        msg["Message-ID"] = make_msgid(domain="tickets.local")
        msg.set_content(body)
        for name, data in ticket.attachments:
            if len(data) > MAX_ATTACHMENT:
                log.info("attachment of %d bytes left out of ticket %d", len(data), ticket.number)
                continue
            msg.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
        return msg

    def reply_address(self, number):
        """The address whose local part names the ticket."""
        text = str(number).encode("ascii")
        tag = hmac.new(self.settings.tag_key, text, hashlib.sha256).hexdigest()
        return "reply+%d.%s@tickets.local" % (number, tag[:REPLY_TAG_LEN])

    def ticket_of(self, address):
        """Find the ticket number an inbound address belongs to, or None."""
        local, _, domain = address.partition("@")
        if domain.lower() != "tickets.local" or not local.startswith("reply+"):
            return None
        number, _, tag = local[len("reply+"):].partition(".")
        if not number.isdigit() or not tag.isascii():
            return None
        want = hmac.new(self.settings.tag_key, number.encode("ascii"), hashlib.sha256)
        if not hmac.compare_digest(want.hexdigest()[:REPLY_TAG_LEN], tag):
            log.info("reply tag does not fit ticket %s", number)
            return None
        return int(number)


class MailboxPoller:
    """Fetches new mail by IMAP, or POP where the provider has nothing else."""

    def __init__(self, host, user, password, cafile=None):
        self.host = host
        self.user = user
        self.password = password
        self.cafile = cafile

    def fetch_imap(self, folder="INBOX", limit=50):
        """Yield unseen messages from the folder."""
        context = ssl.create_default_context(cafile=self.cafile)
        box = imaplib.IMAP4_SSL(self.host, 993, ssl_context=context)
        try:
            box.login(self.user, self.password)
            box.select(folder)
            status, found = box.search(None, "UNSEEN")
            if status != "OK":
                raise MailError("search failed in %s" % folder)
            for num in found[0].split()[:limit]:
                status, parts = box.fetch(num, "(RFC822)")
                if status == "OK" and parts and parts[0]:
                    yield email.message_from_bytes(parts[0][1], policy=email.policy.default)
        finally:
            box.logout()

    def fetch_pop(self, limit=50):
        """Return up to `limit` messages of a POP box, deleting them there."""
        context = build_client_context(self.cafile)
        box = poplib.POP3_SSL(self.host, 995, context=context, timeout=DEFAULT_TIMEOUT)
        messages = []
        try:
            box.user(self.user)
            box.pass_(self.password)
            count, _size = box.stat()
            for index in range(1, min(count, limit) + 1):
                _resp, lines, _octets = box.retr(index)
                messages.append(email.message_from_bytes(b"\r\n".join(lines)))
                box.dele(index)
        finally:
            box.quit()
        return messages


class Directory:
    """Looks up the people allowed to answer tickets."""

    def __init__(self, uri_host, bind_dn, password, cafile):
        self.host = uri_host
        self.bind_dn = bind_dn
        self.password = password
        self.cafile = cafile
        self._conn = None

    def connect(self):
        """Bind once and keep the connection."""
        if self._conn is not None and self._conn.bound:
            return self._conn
        tls = Tls(
            validate=ssl.CERT_REQUIRED,
            version=ssl.PROTOCOL_TLSv1_2,
            ca_certs_file=self.cafile,
        )
        server = Server(self.host, port=636, use_ssl=True, tls=tls, get_info=ALL)
        conn = Connection(server, self.bind_dn, self.password, raise_exceptions=True)
        if not conn.bind():
            raise MailError("directory refused the bind")
        self._conn = conn
        return conn


def probe_relay(host, port, context=None):
    """Report protocol, cipher and days left on the relay's certificate."""
    context = context or ssl.create_default_context()
    with socket.create_connection((host, port), timeout=DEFAULT_TIMEOUT) as raw:
        with context.wrap_socket(raw, server_hostname=host) as tls:
            cert = tls.getpeercert()
            expires = ssl.cert_time_to_seconds(cert["notAfter"])
            return {
                "protocol": tls.version(),
                "cipher": tls.cipher()[0],
                "days": int((expires - time.time()) // 86400),
            }


def dedupe_key(message):
    """Short key for the seen-mail cache."""
    ident = (message.get("Message-ID") or "").strip()
    date = (message.get("Date") or "").strip()
    raw = ("%s|%s" % (ident, date)).encode("utf-8", "replace")
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def new_confirmation(store, address, ttl=3600):
    """Create the link code that confirms a requester's address."""
    address = address.strip().lower()
    if address.count("@") != 1:
        raise MailError("not a mail address")
    code = secrets.token_urlsafe(24)
    digest = hashlib.sha256(code.encode("ascii")).hexdigest()
    store.put(digest, {"address": address, "until": time.time() + ttl})
    return code
