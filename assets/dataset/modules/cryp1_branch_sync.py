# -*- coding: utf-8 -*-
"""Nightly exchange between the branch libraries and the head office.

Every branch packs its loans into a sealed archive, looks up its staff in the
directory and leaves the archive on the head office machine.
"""
import base64
import binascii
import ftplib
import hashlib
import hmac
import json
import logging
import os
import random
import ssl
import struct
import subprocess
import time
import zlib
from urllib.request import HTTPSHandler, Request, build_opener

import bcrypt
import ldap
import ldap.filter
import paramiko
from Crypto.Cipher import AES, PKCS1_OAEP
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import scrypt
from Crypto.PublicKey import RSA
from Crypto.Random import get_random_bytes
from Crypto.Signature import pss

LOG = logging.getLogger('branchsync')

MAGIC = b'BSY3'
HEADER = struct.Struct('>4s16s12sI')
MAX_ARCHIVE = 256 * 1024 * 1024
PIN_ROUNDS = 310000


class SyncError(Exception):
    pass


def load_settings(path, environ=os.environ):
    """Read the branch's settings; the secrets come from the environment."""
    with open(path) as handle:
        settings = json.load(handle)
    for name in ('branch', 'office_host', 'office_url', 'ldap_uri'):
        if not settings.get(name):
            raise SyncError('setting %s is missing in %s' % (name, path))
    if not settings['ldap_uri'].startswith('ldaps://'):
        raise SyncError('ldap_uri must begin with ldaps://')
    settings['archive_pass'] = environ['BRANCH_ARCHIVE_PASS']
    settings['ldap_pass'] = environ['BRANCH_LDAP_PASS']
    return settings


def shelf_label(branch, shelf, width=6):
    """Short, stable label for the printed shelf lists."""
    text = '%s/%s' % (branch, shelf.strip().lower())
    return '%0*d' % (width, zlib.crc32(text.encode('utf-8')) % 10 ** width)


class Archive(object):
    """The sealed file in which a branch's day travels."""

    def __init__(self, passphrase):
        self.passphrase = passphrase

    def _key(self, salt):
        return scrypt(self.passphrase, salt, 32, N=2 ** 15, r=8, p=1)

    def pack(self, rows, target):
        """Write the rows to the target file and return its size."""
        body = zlib.compress(json.dumps(rows, sort_keys=True).encode('utf-8'), 6)
        salt = get_random_bytes(16)
        nonce = get_random_bytes(12)
        head = HEADER.pack(MAGIC, salt, nonce, len(body))
        cipher = AES.new(self._key(salt), AES.MODE_GCM, nonce=nonce)
        cipher.update(head)
        sealed, tag = cipher.encrypt_and_digest(body)
        partial = target + '.part'
        with open(partial, 'wb') as out:
            out.write(head)
            out.write(tag)
            out.write(sealed)
        os.rename(partial, target)
        return len(head) + len(tag) + len(sealed)

    def unpack(self, source):
        """Return the rows of an archive that pack() has written."""
        with open(source, 'rb') as handle:
            head = handle.read(HEADER.size)
            if len(head) != HEADER.size:
                raise SyncError('%s is cut off' % source)
            magic, salt, nonce, size = HEADER.unpack(head)
            if magic != MAGIC or size > MAX_ARCHIVE:
                raise SyncError('%s is no archive of this version' % source)
            tag = handle.read(16)
            sealed = handle.read(size)
        cipher = AES.new(self._key(salt), AES.MODE_GCM, nonce=nonce)
        cipher.update(head)
        try:
            body = cipher.decrypt_and_verify(sealed, tag)
        except ValueError:
            raise SyncError('%s was changed or the passphrase differs' % source)
        inflater = zlib.decompressobj()
        text = inflater.decompress(body, MAX_ARCHIVE)
        if inflater.unconsumed_tail:
            raise SyncError('%s is too large' % source)
        return json.loads(text.decode('utf-8'))


class StaffDirectory(object):
    """Who works where, from the office's LDAP."""

    base = 'ou=staff,dc=libraries,dc=example'

    def __init__(self, uri, bind_dn, password, cacert):
        self.uri = uri
        self.bind_dn = bind_dn
        self.password = password
        self.cacert = cacert

    def connect(self):
        conn = ldap.initialize(self.uri)
        conn.set_option(ldap.OPT_NETWORK_TIMEOUT, 10)
        conn.set_option(ldap.OPT_X_TLS_CACERTFILE, self.cacert)
        conn.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        conn.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        conn.simple_bind_s(self.bind_dn, self.password)
        return conn

    def find(self, badge):
        """Return (name, branch) of the badge's owner, or None."""
        conn = self.connect()
        try:
            wanted = '(&(objectClass=person)(badge=%s))' % ldap.filter.escape_filter_chars(badge)
            found = conn.search_s(self.base, ldap.SCOPE_SUBTREE, wanted, ['cn', 'l'])
        finally:
            conn.unbind_s()
        if len(found) != 1:
            LOG.info('badge look-up gave %d entries', len(found))
            return None
        attrs = found[0][1]
        return attrs['cn'][0].decode('utf-8'), attrs['l'][0].decode('utf-8')


class PinBook(object):
    """Readers' PINs for the self-service terminals."""

    def __init__(self, db):
        self.db = db

    def store(self, card, pin):
        if not pin.isdigit() or not 6 <= len(pin) <= 12:
            raise SyncError('a PIN has 6 to 12 digits')
        salt = os.urandom(16)
        digest = hashlib.pbkdf2_hmac('sha256', pin.encode('ascii'), salt, PIN_ROUNDS)
        self.db.execute('UPDATE readers SET salt = ?, pin = ?, misses = 0 WHERE card = ?',
                        (binascii.hexlify(salt).decode(), binascii.hexlify(digest).decode(), card))
        self.db.commit()

    def check(self, card, pin):
        row = self.db.execute('SELECT salt, pin, misses FROM readers WHERE card = ?', (card,)).fetchone()
        if row is None or row[2] >= 5:
            return False
        digest = hashlib.pbkdf2_hmac('sha256', pin.encode('utf-8'), binascii.unhexlify(row[0]), PIN_ROUNDS)
        good = hmac.compare_digest(digest, binascii.unhexlify(row[1]))
        misses = 0 if good else row[2] + 1
        self.db.execute('UPDATE readers SET misses = ? WHERE card = ?', (misses, card))
        self.db.commit()
        return good


def set_staff_password(db, login, password):
    """Keep the password of a staff account for the days without directory."""
    if len(password) < 10:
        raise SyncError('the password is too short')
    raw = base64.b64encode(hashlib.sha384(password.encode('utf-8')).digest())
    stored = bcrypt.hashpw(raw, bcrypt.gensalt(12))
    db.execute('UPDATE staff SET secret = ? WHERE login = ?', (stored.decode('ascii'), login))
    db.commit()


def make_branch_key(passphrase):
    """Return (private, public) PEM of a new branch key."""
    key = RSA.generate(3072)
    private = key.export_key(passphrase=passphrase, pkcs=8, protection='scryptAndAES128-CBC')
    return private, key.publickey().export_key()


def check_licence(text, public_pem, branch):
    """Return the licence's features for the branch."""
    body, _, signature = text.strip().rpartition('.')
    try:
        blob = base64.b64decode(signature)
        pss.new(RSA.import_key(public_pem)).verify(SHA256.new(body.encode('ascii')), blob)
    except (ValueError, TypeError):
        raise SyncError('the licence is not signed by the vendor')
    licence = json.loads(base64.b64decode(body).decode('utf-8'))
    if licence['branch'] != branch:
        raise SyncError('the licence is for branch %s' % licence['branch'])
    if licence['until'] < time.strftime('%Y-%m-%d'):
        raise SyncError('the licence ended on %s' % licence['until'])
    return licence.get('features', [])


def wrap_for_office(office_pem, day_key):
    """Encrypt the day's key for the office."""
    office = RSA.import_key(office_pem)
    if office.size_in_bits() < 2048:
        raise SyncError('the office key has only %d bits' % office.size_in_bits())
    return base64.b64encode(PKCS1_OAEP.new(office, hashAlgo=SHA256).encrypt(day_key))


def fetch_rules(url, cafile, token):
    """Get the lending rules that hold from tomorrow."""
    if not url.startswith('https://'):
        raise SyncError('rules come by https only')
    context = ssl.create_default_context(cafile=cafile)
    opener = build_opener(HTTPSHandler(context=context))
    request = Request(url, headers={'Authorization': 'Bearer %s' % token})
    reply = opener.open(request, timeout=30)
    try:
        data = reply.read(1024 * 1024 + 1)
    finally:
        reply.close()
    if len(data) > 1024 * 1024:
        raise SyncError('the rules are too long')
    return json.loads(data.decode('utf-8'))


def leave_at_office(host, user, keyfile, archive):
    """Copy the archive to the office by SFTP."""
    name = os.path.basename(archive)
    client = paramiko.SSHClient()
    client.load_system_host_keys()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.connect(host, username=user, key_filename=keyfile, timeout=20)
    try:
        sftp = client.open_sftp()
        sftp.put(archive, 'incoming/%s.part' % name)
        sftp.rename('incoming/%s.part' % name, 'incoming/%s' % name)
    finally:
        client.close()
    LOG.info('%s left at %s', name, host)


def leave_by_ftps(host, user, password, archive, cafile):
    """The same for the two branches whose office machine speaks FTPS."""
    context = ssl.create_default_context(cafile=cafile)
    ftp = ftplib.FTP_TLS(context=context)
    ftp.connect(host, 21, timeout=30)
    try:
        ftp.login(user, password)
        ftp.prot_p()
        with open(archive, 'rb') as handle:
            ftp.storbinary('STOR %s' % os.path.basename(archive), handle)
    finally:
        ftp.close()


def start_delay(spread=900):
    """Seconds this branch waits so that not all call at midnight."""
    return random.randint(0, spread)


def clock_offset():
    """Ask chrony how far the branch's clock is off."""
    out = subprocess.check_output(['/usr/bin/chronyc', '-c', 'tracking'], timeout=10)
    fields = out.decode('ascii', 'replace').strip().split(',')
    try:
        return float(fields[4])
    except (IndexError, ValueError):
        LOG.warning('chronyc gave an answer of %d fields', len(fields))
        return None
