#!/usr/bin/env python3
# opsdesk - small page for the night shift: restart services, read logs, set maintenance.
# Plain WSGI, no framework, runs on the old Debian boxes as well.

import binascii
import calendar
import hashlib
import hmac
import html
import logging
import logging.handlers
import os
import random
import re
import socket
import string
import subprocess
import sys
import time
from http import cookies
from urllib import parse as urlparse
from urllib import request as urlrequest
from wsgiref.simple_server import make_server

import ldap
import ldap.filter
from defusedxml import ElementTree

log = logging.getLogger('opsdesk')

SERVICES = {
    'web': 'nginx.service',
    'mail': 'postfix.service',
    'print': 'cups.service',
}
LOG_DIR = '/var/log/opsdesk'
FLAG_DIR = '/run/opsdesk'
MAX_FORM = 16 * 1024
SESSION_SECONDS = 4 * 3600
ITERATIONS = 310000
PAGE = string.Template('''<!doctype html>
<title>$title</title><h1>$title</h1>
$body
<p><small>opsdesk on $host</small></p>
''')


class HttpError(Exception):

    def __init__(self, status, text):
        Exception.__init__(self, status, text)
        self.status = status
        self.text = text


def page(title, body):
    return PAGE.substitute(title=html.escape(title), body=body, host=html.escape(socket.gethostname()))


def read_form(environ):
    try:
        length = int(environ.get('CONTENT_LENGTH') or 0)
    except ValueError:
        raise HttpError('400 Bad Request', 'length')
    if length < 0 or length > MAX_FORM:
        raise HttpError('413 Payload Too Large', 'form too large')
    raw = environ['wsgi.input'].read(length)
    pairs = urlparse.parse_qsl(raw.decode('utf-8', 'replace'), keep_blank_values=True)
    return dict(pairs)


def one_line(text):
    return re.sub(r'[^\x20-\x7e]', '?', text)[:120]


def load_users(path):
    """Lines of name:salt:hash, salt and hash in hex."""
    users = {}
    with open(path) as fh:
        for number, line in enumerate(fh, 1):
            line = line.strip()
            if not line or line.startswith('#'):
                continue
            parts = line.split(':')
            if len(parts) != 3:
                log.warning('%s:%d is malformed', path, number)
                continue
            users[parts[0]] = (binascii.unhexlify(parts[1]), binascii.unhexlify(parts[2]))
    return users


def add_user(path, name, password):
    if not re.match(r'[a-z][a-z0-9]{1,15}\Z', name):
        raise ValueError('user names are 2 to 16 letters and digits')
    salt = os.urandom(16)
    digest = hashlib.pbkdf2_hmac('sha256', password.encode('utf-8'), salt, ITERATIONS)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(fd, 'w') as fh:
        fh.write('%s:%s:%s\n' % (name, salt.hex(), digest.hex()))
    log.info('user %s added', name)


def poll_peer(url, timeout=8):
    """Ask the sister machine for its state document."""
    parts = urlparse.urlsplit(url)
    if parts.scheme != 'https':
        raise ValueError('peer address has to be https')
    time.sleep(random.random() * 0.5)
    reply = urlrequest.urlopen(url, timeout=timeout)
    try:
        root = ElementTree.fromstring(reply.read(200000))
    finally:
        reply.close()
    state = {}
    for node in root.findall('service'):
        state[node.get('name')] = (node.text or '').strip()
    return state


class Desk(object):

    def __init__(self, users, key, peers=(), ldap_url=None, base='ou=people,dc=campus'):
        self.users = users
        self.key = key
        self.peers = tuple(peers)
        self.ldap_url = ldap_url
        self.base = base
        self.failures = {}

    def sign(self, text):
        return hmac.new(self.key, text.encode('utf-8'), hashlib.sha256).hexdigest()

    def check_login(self, environ, name, password):
        address = environ.get('REMOTE_ADDR', '')
        count, since = self.failures.get(address, (0, 0))
        if count >= 8 and time.time() - since < 900:
            raise HttpError('429 Too Many Requests', 'try again in a quarter of an hour')
        salt, digest = self.users.get(name, (b'\0' * 16, b''))
        tried = hashlib.pbkdf2_hmac('sha256', password.encode('utf-8'), salt, ITERATIONS)
        if not hmac.compare_digest(tried, digest):
            self.failures[address] = (count + 1, time.time())
            log.warning('failed login of %s from %s', one_line(name), address)
            return False
        self.failures.pop(address, None)
        return True

    def current_user(self, environ):
        jar = cookies.SimpleCookie()
        try:
            jar.load(environ.get('HTTP_COOKIE', ''))
        except cookies.CookieError:
            return None
        if 'opsdesk' not in jar:
            return None
        try:
            name, stamp, mark = jar['opsdesk'].value.split('|')
            age = time.time() - int(stamp)
        except ValueError:
            return None
        if not hmac.compare_digest(self.sign('session|%s|%s' % (name, stamp)).encode(), mark.encode()):
            return None
        if age > SESSION_SECONDS or name not in self.users:
            return None
        return name

    def session_cookie(self, name):
        stamp = str(calendar.timegm(time.gmtime()))
        jar = cookies.SimpleCookie()
        jar['opsdesk'] = '%s|%s|%s' % (name, stamp, self.sign('session|%s|%s' % (name, stamp)))
        jar['opsdesk']['path'] = '/'
        jar['opsdesk']['secure'] = True
        jar['opsdesk']['httponly'] = True
        jar['opsdesk']['samesite'] = 'Strict'
        return jar['opsdesk'].OutputString()

    def form_token(self, user):
        return self.sign('form|%s|%d' % (user, time.time() // 7200))

    def do_login(self, environ, form):
        name = form.get('name', '')
        if not self.check_login(environ, name, form.get('password', '')):
            raise HttpError('401 Unauthorized', 'wrong name or password')
        where = form.get('back', '/')
        if not re.match(r'/[a-z]+(\?[a-z]+=[a-z0-9]+)?\Z', where):
            where = '/'
        return where, self.session_cookie(name)

    def do_restart(self, user, form):
        token = form.get('token', '')
        if not hmac.compare_digest(token.encode('utf-8'), self.form_token(user).encode()):
            raise HttpError('403 Forbidden', 'the form is too old')
        unit = SERVICES.get(form.get('service', ''))
        if unit is None:
            raise HttpError('400 Bad Request', 'no such service')
        log.info('%s restarts %s', user, unit)
        proc = subprocess.Popen(['sudo', '-n', 'systemctl', 'restart', unit],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = proc.communicate(timeout=60)
        body = '<p>%s: exit %d</p><pre>%s</pre>' % (
            html.escape(unit), proc.returncode, html.escape(output.decode('utf-8', 'replace')))
        return page('Restarted', body)

    def do_log(self, user, query):
        name = query.get('name', 'today')
        if not re.match(r'[a-z0-9]{1,30}\Z', name):
            raise HttpError('400 Bad Request', 'name')
        path = os.path.join(LOG_DIR, name + '.log')
        try:
            with open(path, 'rb') as fh:
                fh.seek(max(0, os.path.getsize(path) - 20000))
                tail = fh.read().decode('utf-8', 'replace')
        except OSError:
            log.info('%s asked for a missing log', user)
            raise HttpError('404 Not Found', 'no such log')
        return page('Log %s' % name, '<pre>%s</pre>' % html.escape(tail))

    def do_person(self, user, query):
        uid = query.get('uid', '')
        link = ldap.initialize(self.ldap_url)
        link.set_option(ldap.OPT_NETWORK_TIMEOUT, 5)
        link.start_tls_s()
        found = link.search_s(self.base, ldap.SCOPE_ONELEVEL,
                              '(&(objectClass=person)(uid=%s))' % ldap.filter.escape_filter_chars(uid),
                              ['cn', 'telephoneNumber'])
        rows = []
        for _dn, attrs in found[:20]:
            cells = [attrs.get(key, [b''])[0].decode('utf-8') for key in ('cn', 'telephoneNumber')]
            rows.append('<tr><td>%s</td><td>%s</td></tr>' % tuple(html.escape(c) for c in cells))
        return page('People', '<table>%s</table>' % ''.join(rows))

    def do_peers(self, user, query):
        items = []
        for url in self.peers:
            try:
                state = poll_peer(url)
            except (OSError, ValueError, ElementTree.ParseError):
                log.exception('peer %s', url)
                state = {'peer': 'unreachable'}
            items.extend('<li>%s: %s</li>' % (html.escape(k), html.escape(v)) for k, v in sorted(state.items()))
        return page('Peers', '<ul>%s</ul>' % ''.join(items))

    def dispatch(self, environ):
        path, method = environ.get('PATH_INFO', '/'), environ['REQUEST_METHOD']
        if path == '/login' and method == 'POST':
            return self.do_login(environ, read_form(environ))
        user = self.current_user(environ)
        if user is None:
            raise HttpError('401 Unauthorized', 'log in first')
        query = dict(urlparse.parse_qsl(environ.get('QUERY_STRING', '')))
        if path == '/restart' and method == 'POST':
            return self.do_restart(user, read_form(environ))
        for name, action in (('/log', self.do_log), ('/person', self.do_person), ('/peers', self.do_peers)):
            if path == name:
                return action(user, query)
        raise HttpError('404 Not Found', 'no such page')

    def __call__(self, environ, start_response):
        headers = [('Content-Type', 'text/html; charset=utf-8'), ('X-Frame-Options', 'DENY')]
        try:
            result = self.dispatch(environ)
            if isinstance(result, tuple):
                where, cookie = result
                start_response('303 See Other', [('Location', where), ('Set-Cookie', cookie)])
                return [b'']
            status = '200 OK'
        except HttpError as err:
            status, result = err.status, page(err.status, html.escape(err.text))
        except Exception:
            log.exception('while serving %s', one_line(environ.get('PATH_INFO', '')))
            status, result = '500 Internal Server Error', page('Sorry', 'The error was recorded.')
        start_response(status, headers)
        return [result.encode('utf-8')]


def main(argv):
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(name)s %(message)s')
    with open(argv[1], 'rb') as fh:
        key = fh.read().strip()
    if len(key) < 32:
        sys.exit('key file is too short')
    desk = Desk(load_users(argv[2]), key, peers=argv[3:], ldap_url='ldap://ldap.campus.example')
    server = make_server('127.0.0.1', 8099, desk)
    log.info('opsdesk is up')
    server.serve_forever()


if __name__ == '__main__':
    main(sys.argv)
