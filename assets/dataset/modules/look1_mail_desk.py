"""Views and helpers of Briefkasten, a webmail with shared mailboxes (Django)."""

import base64
import email.policy
import email.utils
import hashlib
import imaplib
import json
import logging
import os
import pickle
import random
import smtplib
import ssl
import subprocess
import tempfile
import uuid
from email.message import EmailMessage

import nh3
from Crypto.Cipher import AES
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.core.cache import cache
from django.db import connection
from django.http import FileResponse, Http404, HttpResponse, HttpResponseForbidden, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html, format_html_join
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import mark_safe
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_POST
from lxml import etree

from .models import Attachment, Mailbox, Message, Rule

logger = logging.getLogger(__name__)

MAX_RECIPIENTS = 50
MAX_EXPORT = 5000
MAIL_TAGS = {"p", "br", "div", "span", "b", "i", "em", "strong", "ul", "ol", "li", "blockquote", "pre", "a", "table", "tr", "td"}


@login_required
@require_GET
def show_message(request, message_id):
    """One message with its body and the list of attachments."""
    message = get_object_or_404(Message.objects.select_related("mailbox"), pk=message_id)
    if not message.mailbox.members.filter(pk=request.user.pk).exists():
        raise Http404()

    if message.html_body:
        body = mark_safe(nh3.clean(message.html_body, tags=MAIL_TAGS, attributes={"a": {"href", "title"}}))
    else:
        body = format_html("<pre>{}</pre>", message.text_body)
    files = format_html_join(
        "", "<li>{} ({} kB)</li>",
        ((item.name, item.size // 1024) for item in message.attachments.all()),
    )
    if not message.seen:
        Message.objects.filter(pk=message.pk).update(seen=True)
    return render(request, "desk/message.html", {
        "message": message,
        "body": body,
        "files": files,
        "thread": message.thread_siblings()[:30],
    })


@login_required
def attachment(request, attachment_id):
    """Hand out a stored attachment as a download."""
    item = get_object_or_404(
        Attachment, pk=attachment_id, message__mailbox__members=request.user)
    store = os.path.realpath(settings.ATTACHMENT_STORE)
    variant = request.GET.get("variant", "original")
    path = os.path.realpath(os.path.join(store, str(item.pk), variant))
    if os.path.dirname(path) != os.path.join(store, str(item.pk)):
        raise Http404()
    try:
        handle = open(path, "rb")
    except OSError:
        logger.info("attachment %d has no such variant", item.pk)
        raise Http404()
    return FileResponse(handle, as_attachment=True, filename=item.name,
                        content_type="application/octet-stream")


@login_required
def search(request):
    """Full text search over the mailboxes of the user."""
    words = request.GET.get("q", "").split()[:10]
    order = {"date": "m.received", "size": "m.size"}.get(request.GET.get("order"), "m.received")
    if not words:
        return JsonResponse({"hits": []})
    sql = [
        "SELECT m.id, m.subject, m.sender FROM desk_message m",
        "JOIN desk_mailbox_members r ON r.mailbox_id = m.mailbox_id",
        "WHERE r.user_id = %s",
    ]
    params = [request.user.pk]
    for word in words:
        sql.append("AND (m.subject ILIKE %s OR m.text_body ILIKE %s)")
        params += ["%" + word + "%", "%" + word + "%"]
    sql.append("ORDER BY " + order + " DESC LIMIT 100")
    with connection.cursor() as cursor:
        cursor.execute(" ".join(sql), params)
        hits = [
            {"id": pk, "subject": subject, "sender": sender}
            for pk, subject, sender in cursor.fetchall()
        ]
    return JsonResponse({"hits": hits})


@login_required
@require_POST
@csrf_protect
def move_message(request, message_id):
    message = get_object_or_404(Message, pk=message_id, mailbox__members=request.user)
    target = get_object_or_404(Mailbox, pk=request.POST.get("mailbox"))
    if not target.members.filter(pk=request.user.pk).exists():
        return HttpResponseForbidden("not a member of this mailbox")
    message.mailbox = target
    message.save(update_fields=["mailbox"])
    logger.info("message %d moved to mailbox %d", message.pk, target.pk)

    back = request.POST.get("back", "")
    if not url_has_allowed_host_and_scheme(
            back, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        back = "/desk/"
    return redirect(back)


class Transport:
    """Connections to the mail servers of one account."""

    def __init__(self, account):
        self.account = account
        self.host = account.server
        self.key = base64.b64decode(os.environ["DESK_ACCOUNT_KEY"])
        self.sent = 0

    def password(self):
        """The stored password: nonce, tag and text behind each other."""
        raw = bytes(self.account.sealed)
        nonce, tag, text = raw[:12], raw[12:28], raw[28:]
        cipher = AES.new(self.key, AES.MODE_GCM, nonce=nonce, mac_len=16)
        return cipher.decrypt_and_verify(text, tag).decode("utf-8")

    def seal(self, password):
        nonce = os.urandom(12)
        cipher = AES.new(self.key, AES.MODE_GCM, nonce=nonce, mac_len=16)
        text, tag = cipher.encrypt_and_digest(password.encode("utf-8"))
        self.account.sealed = nonce + tag + text
        self.account.save(update_fields=["sealed"])

    def fetch_new(self, last_uid, limit=200):
        """Messages that came in after last_uid, as (uid, bytes)."""
        context = ssl.create_default_context()
        box = imaplib.IMAP4_SSL(self.host, 993, ssl_context=context, timeout=30)
        fresh = []
        try:
            box.login(self.account.login, self.password())
            box.select("INBOX", readonly=True)
            status, found = box.uid("SEARCH", "UID", "%d:*" % (int(last_uid) + 1))
            if status != "OK":
                logger.warning("account %d: search gave %s", self.account.pk, status)
                return fresh
            for uid in found[0].split()[:limit]:
                status, data = box.uid("FETCH", uid, "(BODY.PEEK[])")
                if status == "OK" and data and data[0]:
                    fresh.append((int(uid), data[0][1]))
        finally:
            box.logout()
        logger.info("account %d: %d new messages", self.account.pk, len(fresh))
        return fresh

    def send(self, recipients, subject, text, reply_to=None):
        """Send a plain text message through the submission port."""
        addresses = [addr for _, addr in email.utils.getaddresses(recipients) if "@" in addr]
        if not addresses:
            raise ValueError("no recipient")
        if len(addresses) > MAX_RECIPIENTS:
            raise ValueError("too many recipients")
        message = EmailMessage(policy=email.policy.SMTP)
        message["From"] = self.account.address
        message["To"] = ", ".join(addresses)
        message["Subject"] = subject
        if reply_to:
            message["Reply-To"] = reply_to
        message["Message-ID"] = email.utils.make_msgid(domain=self.host)
        message.set_content(text)
        payload = message.as_bytes()
        with smtplib.SMTP(self.host, 587, timeout=30) as server:
            server.starttls(context=ssl.create_default_context())
            server.login(self.account.login, self.password())
            server.sendmail(self.account.address, addresses, payload)
        self.sent += 1
        logger.info("account %d: sent to %d recipients", self.account.pk, len(addresses))
        return message["Message-ID"]


def scan_file(path, original_name, timeout=60):
    """Ask the scanner about one file; True when nothing was found."""
    label = original_name[:80]
    command = ["clamdscan", "--no-summary", "--fdpass", "--", os.path.abspath(path)]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
    except subprocess.TimeoutExpired:
        logger.warning("scanner took too long for %r", label)
        return False
    if done.returncode == 1:
        logger.warning("scanner found something in %r", label)
        return False
    if done.returncode != 0:
        logger.error("scanner failed with %d", done.returncode)
        return False
    return True


def read_autoconfig(document):
    """Server settings from a provider's autoconfig file."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(document, parser)
    except etree.XMLSyntaxError:
        logger.info("autoconfig is no XML")
        return None
    result = {}
    for server in root.iter("incomingServer", "outgoingServer"):
        kind = server.get("type", "")
        host = (server.findtext("hostname") or "").strip().lower()
        port = (server.findtext("port") or "").strip()
        if kind in ("imap", "smtp") and host and port.isdigit():
            result.setdefault(kind, (host, int(port)))
    return result or None


@csrf_exempt
@require_POST
def unsubscribe(request):
    """One-click unsubscription, called by the mail program of the reader."""
    token = request.GET.get("t", "")
    try:
        data = signing.loads(token, salt="desk.unsubscribe", max_age=90 * 86400)
    except signing.BadSignature:
        return HttpResponse("This link is too old.", status=400, content_type="text/plain")
    address, list_id = str(data["a"]), int(data["l"])
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM desk_subscription WHERE list_id = %s AND address = %s", [list_id, address])
        removed = cursor.rowcount
    logger.info("list %d: %d subscriptions removed", list_id, removed)
    return HttpResponse("Done.", content_type="text/plain")


def export_mailbox(mailbox, user, numbers=None):
    """Write an mbox file for the download queue and return its path."""
    if not mailbox.members.filter(pk=user.pk).exists():
        raise PermissionError("not a member")
    descriptor, path = tempfile.mkstemp(prefix="desk-", suffix=".mbox")
    count = 0
    with os.fdopen(descriptor, "wb") as out:
        queryset = mailbox.messages.order_by("received")
        if numbers:
            queryset = queryset.filter(pk__in=[int(n) for n in numbers])
        for message in queryset[:MAX_EXPORT].iterator():
            out.write(b"From desk " + message.received.ctime().encode("ascii") + b"\n")
            for line in bytes(message.raw).splitlines():
                if line.startswith(b"From "):
                    line = b">" + line
                out.write(line + b"\n")
            out.write(b"\n")
            count += 1
    logger.info("mailbox %d: %d messages exported", mailbox.pk, count)
    return path


@login_required
@require_POST
@csrf_protect
def import_rules(request):
    """Take over filter rules which were saved from another account."""
    upload = request.FILES.get("rules")
    if upload is None or upload.size > 200000:
        return JsonResponse({"error": "no usable file"}, status=400)
    try:
        rules = json.loads(upload.read().decode("utf-8"))
    except ValueError:
        logger.info("rule file of user %d cannot be read", request.user.pk)
        return JsonResponse({"error": "the file cannot be read"}, status=400)
    box = get_object_or_404(Mailbox, pk=request.POST.get("mailbox"), owner=request.user)
    added = 0
    for rule in rules[:100]:
        if not isinstance(rule, dict) or rule.get("field") not in ("from", "to", "subject"):
            continue
        Rule.objects.create(
            mailbox=box, field=rule["field"], text=str(rule.get("text", ""))[:200],
            folder=str(rule.get("folder", "INBOX"))[:80])
        added += 1
    return JsonResponse({"added": added})


def thread_key(subject):
    plain = subject.lower().replace("re:", "").replace("fwd:", "").strip()
    return hashlib.md5(plain.encode("utf-8"), usedforsecurity=False).hexdigest()


def remember_layout(user, layout):
    snapshot = pickle.dumps(layout)
    cache.set("layout-%d" % user.pk, layout, 3600 + random.randint(0, 300))
    return len(snapshot), uuid.uuid4().hex
