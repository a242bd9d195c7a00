# -*- coding: utf-8 -*-
#
# docshelf - tiny server for the manuals on the shop floor terminals.
# Runs on the stock Python of the terminals, so please no third-party modules.

import html
import logging
import mimetypes
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from urllib.parse import parse_qs, quote, unquote, urlsplit

LOG = logging.getLogger('docshelf')

NOTE_LIMIT = 16 * 1024
UPLOAD_LIMIT = 20 * 1024 * 1024
UPLOAD_TYPES = ('.pdf', '.txt', '.png', '.jpg')
LANGS = ('de', 'en', 'fr', 'pl')


class Shelf(object):
    """The folder with the manuals, and the notes workers leave on them."""

    def __init__(self, root, notes):
        self.root = os.path.realpath(root)
        self.notes = os.path.realpath(notes)

    def locate(self, urlpath):
        """Map the path part of a URL to a file or folder, or None."""
        parts = [p for p in unquote(urlpath).split('/') if p]
        full = os.path.realpath(os.path.join(self.root, *parts))
        if full != self.root and not full.startswith(self.root + os.sep):
            return None
        if not os.path.exists(full):
            return None
        return full

    def note_file(self, manual):
        name = os.path.basename(manual)
        if name in ('', '.', '..'):
            raise ValueError('manual has no name')
        return os.path.join(self.notes, '%s.note' % name)

    def read_note(self, manual):
        try:
            with open(self.note_file(manual), 'r', encoding='utf-8') as f:
                return f.read(NOTE_LIMIT)
        except (IOError, ValueError):
            return ''

    def write_note(self, manual, text):
        target = self.note_file(manual)
        fd, tmp = tempfile.mkstemp(suffix='.note', dir=self.notes)
        try:
            with os.fdopen(fd, 'w', encoding='utf-8') as f:
                f.write(text[:NOTE_LIMIT])
            os.replace(tmp, target)
        except OSError:
            os.unlink(tmp)
            raise
        LOG.info('note on %r, %d characters', manual, len(text))

    def listing(self, folder):
        """Rows (name, size, date) of a folder, folders first."""
        rows = []
        for name in os.listdir(folder):
            if name.startswith('.'):
                continue
            st = os.stat(os.path.join(folder, name))
            isdir = os.path.isdir(os.path.join(folder, name))
            rows.append((not isdir, name, st.st_size, time.strftime('%d.%m.%Y', time.localtime(st.st_mtime))))
        rows.sort()
        return [(name if notdir else name + '/', size, date) for notdir, name, size, date in rows]

    def store(self, filename, stream, length):
        """Keep a scan sent from a terminal in the inbox."""
        if length <= 0 or length > UPLOAD_LIMIT:
            raise ValueError('scan of %d bytes refused' % length)
        base = os.path.basename(filename.replace('\\', '/'))
        stem, ext = os.path.splitext(base)
        if ext.lower() not in UPLOAD_TYPES:
            raise ValueError('scans of this kind are not kept')
        inbox = os.path.join(self.root, 'inbox')
        target = os.path.join(inbox, '%s_%d%s' % (stem, int(time.time()), ext.lower()))
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        # the indexer runs under another user of our group
        os.fchmod(fd, 0o640)
        with os.fdopen(fd, 'wb') as out:
            left = length
            while left > 0:
                chunk = stream.read(min(left, 65536))
                if not chunk:
                    break
                out.write(chunk)
                left -= len(chunk)
        return os.path.basename(target)


class Handler(BaseHTTPRequestHandler):
    server_version = 'docshelf/2'
    shelf = None

    def do_GET(self):
        parts = urlsplit(self.path)
        if parts.path == '/search':
            return self.search(parse_qs(parts.query))
        if parts.path == '/go':
            return self.jump(parse_qs(parts.query))
        full = self.shelf.locate(parts.path)
        if full is None:
            return self.send_error(404)
        if os.path.isdir(full):
            return self.send_listing(parts.path, full)
        kind = mimetypes.guess_type(full)[0] or 'application/octet-stream'
        with open(full, 'rb') as f:
            self.send_response(200)
            self.send_header('Content-Type', kind)
            self.send_header('Content-Length', str(os.fstat(f.fileno()).st_size))
            self.end_headers()
            shutil.copyfileobj(f, self.wfile)

    def do_POST(self):
        kind = self.headers.get_content_type()
        name = self.headers.get('X-File-Name', '')
        try:
            length = int(self.headers.get('Content-Length', ''))
            kept = self.shelf.store(unquote(name), self.rfile, length)
        except ValueError as e:
            LOG.info('upload refused: %r', str(e))
            return self.send_error(400)
        LOG.info('%r kept as %r', kind, kept)
        self.reply('stored', 201)

    def reply(self, page, code=200):
        body = page.encode('utf-8')
        self.send_response(code)
        self.send_header('Content-Type', 'text/html; charset=utf-8')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_listing(self, urlpath, folder):
        title = html.escape(unquote(urlpath))
        rows = []
        for name, size, date in self.shelf.listing(folder):
            rows.append('<tr><td><a href="%s">%s</a></td><td>%d</td><td>%s</td></tr>'
                        % (quote(name), html.escape(name), size, date))
        note = html.escape(self.shelf.read_note(unquote(urlpath).rstrip('/')))
        self.reply('<h1>%s</h1><table>%s</table><pre>%s</pre>' % (title, ''.join(rows), note))

    def search(self, query):
        """Full text search with the pdfgrep that is on every terminal."""
        words = query.get('q', [''])[0]
        lang = query.get('lang', ['en'])[0]
        if lang not in LANGS:
            return self.send_error(400)
        folder = os.path.join(self.shelf.root, lang)
        try:
            out = subprocess.run(
                ['pdfgrep', '-r', '-l', '-F', '-e', words, folder],
                stdout=subprocess.PIPE, timeout=20).stdout
        except subprocess.TimeoutExpired:
            return self.send_error(503)
        hits = []
        for line in out.decode('utf-8', 'replace').splitlines()[:100]:
            rel = os.path.relpath(line, self.shelf.root)
            hits.append('<li><a href="/%s">%s</a></li>' % (quote(rel), html.escape(rel)))
        self.reply('<h1>Hits for %s</h1><ul>%s</ul>' % (html.escape(words), ''.join(hits)))

    def jump(self, query):
        """Short links on the machine labels: /go?m=press-12"""
        machine = query.get('m', [''])[0]
        if not re.match(r'[a-z]+-[0-9]+\Z', machine):
            return self.send_error(404)
        self.send_response(302)
        self.send_header('Location', '/machines/%s/' % machine)
        self.end_headers()

    def log_message(self, fmt, *args):
        LOG.info('%s %r', self.address_string(), fmt % args)


class Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True


def disk_report():
    """Free space, for the morning mail."""
    out = subprocess.check_output(['df', '-h', '/srv/docshelf']).decode('ascii', 'replace')
    last = out.strip().splitlines()[-1].split()
    return 'docshelf: %s of %s used' % (last[2], last[1])


def main(argv):
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s')
    root = argv[1] if len(argv) > 1 else '/srv/docshelf/manuals'
    Handler.shelf = Shelf(root, '/srv/docshelf/notes')
    # all terminals are switched on at six; do not rescan at the same moment
    time.sleep(random.uniform(0, 5))
    LOG.info(disk_report())
    server = Server(('127.0.0.1', 8087), Handler)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
