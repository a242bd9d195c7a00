#!/usr/bin/env python3
# -*- coding: utf-8 -*-
#
# Control panel of the Kubbe home server: shares, users, snapshots, updates.
#
import binascii
import functools
import hashlib
import hmac
import json
import logging
import os
import random
import re
import sqlite3
import ssl
import subprocess
import tarfile
import time
from collections import namedtuple
from urllib.request import Request, urlopen

import ldap
import ldap.filter
from bottle import abort, get, html_escape, post, redirect, request, response, static_file

LOG = logging.getLogger('kubbe')

STATE = '/var/lib/kubbe'
LOG_DIR = '/var/log/kubbe'
VOLUMES = '/volumes'
DB = os.path.join(STATE, 'panel.db')
UPDATE_URL = 'https://updates.kubbe.example/v2/'
SHARE_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_-]{0,30}')
RESTORABLE = ('shares.json', 'users.json', 'network.json', 'schedule.json')
ROUNDS = 320000
IMAGE_LIMIT = 900 * 1024 * 1024

Session = namedtuple('Session', 'user is_admin form_key')


def database():
    conn = sqlite3.connect(DB, timeout=10)
    conn.row_factory = sqlite3.Row
    return conn


def current_session():
    sid = request.get_cookie('sid')
    if not sid:
        return None
    with database() as conn:
        row = conn.execute('SELECT user, is_admin, form_key FROM session WHERE sid = ? AND until > ?',
                           (sid, int(time.time()))).fetchone()
    return Session(*row) if row else None


def admin_only(view):
    @functools.wraps(view)
    def wrapper(*args, **kwargs):
        session = current_session()
        if session is None:
            redirect('/login')
        if not session.is_admin:
            abort(403, 'Administrators only.')
        if request.method == 'POST' and not hmac.compare_digest(
                request.forms.get('form_key', '').encode('utf-8'), session.form_key.encode('utf-8')):
            abort(403, 'The form is too old.')
        request.panel = session
        return view(*args, **kwargs)
    return wrapper


def disk_usage():
    """Used and free space of every volume, in the order df gives them."""
    out = subprocess.check_output(['df', '-P', '-k', '-x', 'tmpfs'], universal_newlines=True)
    usage = []
    for line in out.splitlines()[1:]:
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5].startswith(VOLUMES):
            usage.append({'at': fields[5], 'used': int(fields[2]), 'free': int(fields[3])})
    return usage


@post('/login')
def login():
    name = request.forms.get('name', '')[:64]
    password = request.forms.get('password', '')
    conn = database()
    row = conn.execute('SELECT name, salt, hash, is_admin, fails, last_fail FROM account WHERE name = ?',
                       (name,)).fetchone()
    if row is None:
        time.sleep(random.uniform(0.2, 0.6))
        return '<p>Name or password is wrong.</p>'
    if row['fails'] >= 8 and time.time() - row['last_fail'] < 900:
        abort(429, 'Too many attempts.')
    digest = hashlib.pbkdf2_hmac('sha256', password.encode('utf-8'), row['salt'], ROUNDS)
    if not hmac.compare_digest(digest, row['hash']):
        conn.execute('UPDATE account SET fails = fails + 1, last_fail = ? WHERE name = ?',
                     (int(time.time()), name))
        conn.commit()
        LOG.info('login failed for %r from %s', name, request.remote_addr)
        return '<p>Name or password is wrong.</p>'
    sid = binascii.hexlify(os.urandom(24)).decode('ascii')
    form_key = binascii.hexlify(os.urandom(16)).decode('ascii')
    conn.execute('INSERT INTO session (sid, user, is_admin, form_key, until) VALUES (?, ?, ?, ?, ?)',
                 (sid, row['name'], row['is_admin'], form_key, int(time.time()) + 43200))
    conn.execute('UPDATE account SET fails = 0 WHERE name = ?', (name,))
    conn.commit()
    response.set_cookie('sid', sid, path='/', httponly=True, secure=True, samesite='strict')
    redirect('/')


@post('/shares')
@admin_only
def create_share():
    """Make a folder on a volume and tell samba about it."""
    name = request.forms.get('name', '')
    volume = request.forms.get('volume', '')
    comment = request.forms.getunicode('comment', '')
    if not SHARE_NAME.fullmatch(name):
        abort(400, 'This name cannot be used.')
    if volume not in os.listdir(VOLUMES):
        abort(400, 'There is no such volume.')
    comment = ''.join(ch for ch in comment if ch.isprintable())[:80]
    folder = os.path.join(VOLUMES, volume, name)
    if os.path.exists(folder):
        abort(409, 'There is a folder of this name.')
    os.mkdir(folder, 0o770)
    lines = ['[%s]' % name, '  path = %s' % folder, '  comment = %s' % comment,
             '  valid users = @%s' % request.panel.user, '  read only = no', '']
    with open(os.path.join(STATE, 'smb.d', name + '.conf'), 'w') as conf:
        conf.write('\n'.join(lines))
    status = subprocess.call(['smbcontrol', 'smbd', 'reload-config'])
    if status != 0:
        LOG.warning('smbd did not reload: %d', status)
    redirect('/shares')


@post('/users/password')
@admin_only
def set_password():
    name = request.forms.get('name', '')
    password = request.forms.getunicode('password', '')
    if len(password) < 10 or '\n' in password:
        abort(400, 'The password cannot be used.')
    if not name or len(name) > 64 or name.startswith('-'):
        abort(400, 'There is no such user.')
    proc = subprocess.Popen(['smbpasswd', '-s', '-a', name], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = proc.communicate(('%s\n%s\n' % (password, password)).encode('utf-8'), timeout=30)
    if proc.returncode != 0:
        LOG.error('smbpasswd ended with %d', proc.returncode)
        abort(500, 'The password was not changed.')
    salt = os.urandom(16)
    digest = hashlib.pbkdf2_hmac('sha256', password.encode('utf-8'), salt, ROUNDS)
    with database() as conn:
        conn.execute('UPDATE account SET salt = ?, hash = ?, fails = 0 WHERE name = ?', (salt, digest, name))
        conn.execute('DELETE FROM session WHERE user = ? AND sid != ?', (name, request.get_cookie('sid')))
    LOG.info('password of %r changed by %r', name, request.panel.user)
    redirect('/users')


@post('/snapshots/delete')
@admin_only
def delete_snapshot():
    """Drop one snapshot of a volume."""
    volume = request.forms.get('volume', '')
    label = request.forms.get('label', '')
    if volume not in os.listdir(VOLUMES):
        abort(404)
    base = os.path.join(VOLUMES, volume, '.snapshots')
    path = os.path.normpath(os.path.join(base, label))
    if os.path.dirname(path) != base or not os.path.isdir(path):
        abort(404, 'There is no such snapshot.')
    proc = subprocess.Popen(['btrfs', 'subvolume', 'delete', '--commit-after', path],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = proc.communicate()
    if proc.returncode != 0:
        LOG.error('btrfs ended with %d: %s', proc.returncode, out[-300:])
        abort(500, 'The snapshot could not be deleted.')
    with database() as conn:
        conn.execute('DELETE FROM snapshot WHERE volume = ? AND label = ?', (volume, label))
    redirect('/snapshots')


@get('/logs')
@admin_only
def show_log():
    name = request.query.get('name') or 'panel.log'
    needle = request.query.getunicode('find', '')
    if name not in os.listdir(LOG_DIR):
        abort(404)
    if request.query.get('raw'):
        return static_file(name, root=LOG_DIR, mimetype='text/plain', download=name)
    with open(os.path.join(LOG_DIR, name), errors='replace') as src:
        lines = src.readlines()[-2000:]
    rows = []
    for line in lines:
        if needle and needle.lower() not in line.lower():
            continue
        rows.append('<tr><td>%s</td></tr>' % html_escape(line.rstrip()))
    head = '<h2>%s, %d lines for "%s"</h2>' % (html_escape(name), len(rows), html_escape(needle))
    return head + '<table class="log">' + '\n'.join(rows) + '</table>'


@post('/backup/restore')
@admin_only
def restore_settings():
    """Take the settings over from a backup which was made on this page."""
    upload = request.files.get('backup')
    if upload is None:
        abort(400, 'No file was sent.')
    restored = []
    with tarfile.open(fileobj=upload.file, mode='r:gz') as tar:
        for member in tar.getmembers():
            if not member.isfile() or member.size > 1024 * 1024:
                continue
            if member.name not in RESTORABLE:
                continue
            data = tar.extractfile(member).read()
            if member.name.endswith('.json'):
                json.loads(data.decode('utf-8'))
            target = os.path.join(STATE, member.name)
            fd = os.open(target + '.new', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, 'wb') as out:
                out.write(data)
            os.rename(target + '.new', target)
            restored.append(member.name)
    LOG.info('settings restored by %r: %d files', request.panel.user, len(restored))
    return {'restored': restored}


def fetch_update(channel, public_key):
    """Download the newest image of a channel; give its path, or None if there is nothing new."""
    if channel not in ('stable', 'beta'):
        raise ValueError('unknown channel')
    context = ssl.create_default_context()
    headers = {'User-Agent': 'kubbe/%s' % os.uname().machine}
    with urlopen(Request(UPDATE_URL + channel + '.json', headers=headers), context=context, timeout=20) as reply:
        entry = json.loads(reply.read(65536).decode('utf-8'))
    with open(os.path.join(STATE, 'version')) as src:
        if entry['version'] == src.read().strip():
            return None
    with urlopen(Request(UPDATE_URL + channel + '.img', headers=headers), context=context, timeout=60) as reply:
        image = reply.read(IMAGE_LIMIT)
    signature = binascii.unhexlify(entry['signature'])
    if not public_key.verify(signature, hashlib.sha256(image).digest()):
        LOG.error('signature of image %r does not fit', entry['version'])
        return None
    path = os.path.join(STATE, 'update.img')
    with open(path, 'wb') as out:
        out.write(image)
    LOG.info('update %r is ready, %d bytes', entry['version'], len(image))
    return path


def directory_user(server, base, login, password):
    """Name and groups of a user of the directory, or None when the password is wrong."""
    if not login or not password:
        return None
    ldap.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
    conn = ldap.initialize('ldaps://%s' % server)
    conn.set_option(ldap.OPT_NETWORK_TIMEOUT, 8)
    wanted = ldap.filter.filter_format('(&(objectClass=person)(uid=%s))', [login])
    found = conn.search_s(base, ldap.SCOPE_SUBTREE, wanted, ['cn', 'memberOf'])
    if len(found) != 1:
        return None
    dn, attrs = found[0]
    try:
        conn.simple_bind_s(dn, password)
    except ldap.INVALID_CREDENTIALS:
        LOG.info('directory refused %r', login)
        return None
    finally:
        conn.unbind_s()
    groups = [g.decode('utf-8').split(',')[0] for g in attrs.get('memberOf', [])]
    return {'name': attrs['cn'][0].decode('utf-8'), 'groups': groups}
