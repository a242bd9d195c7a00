"""Status board of the build farm.

Serves one page with the last builds, the tail of a build log and a search box.
Started by supervisord on the farm master; reads builds.json that the workers
leave in the spool directory.
"""
import hmac
import html
import json
import logging
import os
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

log = logging.getLogger('farmboard')

SPOOL = os.environ.get('FARM_SPOOL', '/var/spool/farm')
MAX_NOTE = 4096
TAIL_BYTES = 64 * 1024
STATES = {'ok': 'good', 'failed': 'bad', 'running': 'busy'}
JOB_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_-]{0,63}')
LOCAL_PATH = re.compile(r'/(?:[A-Za-z0-9_.~-][A-Za-z0-9_.~/=&?%+-]*)?')

PAGE = ('<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>%s</title>'
        '<link rel="stylesheet" href="/board.css"></head><body>%s</body></html>\n')


def fmt_age(seconds):
    if seconds < 90:
        return '%d s' % seconds
    if seconds < 5400:
        return '%d min' % (seconds / 60)
    if seconds < 48 * 3600:
        return '%d h' % (seconds / 3600)
    return '%d days' % (seconds / 86400)


def render_row(build):
    cls = STATES.get(build.get('state'), 'unknown')
    link = '/log?job=%s&n=%d' % (quote(build['job'], safe=''), build['number'])
    cells = [
        '<td class="%s">%s</td>' % (cls, html.escape(build['job'])),
        '<td><a href="%s">#%d</a></td>' % (html.escape(link), build['number']),
        '<td>%s</td>' % html.escape(build.get('author') or 'nobody'),
        '<td>%s</td>' % fmt_age(time.time() - build['finished']),
    ]
    return '<tr>%s</tr>\n' % ''.join(cells)


def render_search_box(query, state):
    options = []
    for name in sorted(STATES):
        mark = ' selected' if name == state else ''
        options.append('<option value="%s"%s>%s</option>' % (name, mark, name))
    return ('<form action="/search"><input name="q" value="%s">'
            '<select name="state">%s</select><button>Find</button></form>'
            % (html.escape(query), ''.join(options)))


class BuildStore(object):
    """Keeps the parsed builds.json and reads it again when it was touched."""

    def __init__(self, root):
        self.root = root
        self.stamp = 0
        self.builds = []
        self.notes = {}

    def refresh(self):
        path = os.path.join(self.root, 'builds.json')
        try:
            stamp = os.stat(path).st_mtime
            if stamp == self.stamp:
                return
            with open(path, encoding='utf-8') as fh:
                self.builds = json.load(fh)
            self.stamp = stamp
        except (OSError, ValueError) as exc:
            log.warning('keeping the old list: %s', exc)

    def log_tail(self, job, number):
        if not JOB_NAME.fullmatch(job):
            raise KeyError(job)
        path = os.path.join(self.root, 'logs', job, '%d.log' % number)
        with open(path, 'rb') as fh:
            fh.seek(0, os.SEEK_END)
            fh.seek(max(0, fh.tell() - TAIL_BYTES))
            return fh.read().decode('utf-8', 'replace')

    def add_note(self, job, text):
        self.notes.setdefault(job, []).append((time.time(), text))
        del self.notes[job][:-20]


class BoardHandler(BaseHTTPRequestHandler):
    server_version = 'FarmBoard/2'

    def do_GET(self):
        parts = urlsplit(self.path)
        params = parse_qs(parts.query)
        pages = {'/': self.page_index, '/log': self.page_log,
                 '/search': self.page_search, '/go': self.page_go,
                 '/raw': self.page_raw}
        page = pages.get(parts.path)
        if page is None:
            self.send_page('Not found', '<p>There is no page %s here.</p>'
                           % html.escape(parts.path), 404)
            return
        self.server.store.refresh()
        try:
            page(params)
        except (KeyError, ValueError, OSError):
            log.exception('page failed')
            self.send_page('Oops', '<p>That did not work.</p>', 500)

    def do_POST(self):
        if urlsplit(self.path).path != '/note':
            self.send_page('Not found', '<p>No such form.</p>', 404)
            return
        given = self.headers.get('X-Board-Key', '')
        if not hmac.compare_digest(given.encode(), self.server.note_key.encode()):
            self.send_page('Wrong key', '<p>Ask the farm team for the key.</p>', 403)
            return
        try:
            length = int(self.headers.get('Content-Length', ''))
        except ValueError:
            length = -1
        if not 0 < length <= MAX_NOTE:
            self.send_page('Too long', '<p>Keep it short, please.</p>', 413)
            return
        form = parse_qs(self.rfile.read(length).decode('utf-8', 'replace'))
        job = form.get('job', [''])[0]
        self.server.store.add_note(job, form.get('text', [''])[0].strip())
        self.send_page('Noted', '<p>The note on %s is up.</p>' % html.escape(job))

    def page_index(self, params):
        store = self.server.store
        rows = [render_row(b) for b in store.builds[-50:]]
        notes = []
        for job in sorted(store.notes):
            for stamp, text in store.notes[job]:
                when = time.strftime('%d %b %H:%M', time.localtime(stamp))
                notes.append('<li><b>%s</b> (%s): %s</li>'
                             % (html.escape(job), when, html.escape(text)))
        self.send_page('Build farm', render_search_box('', 'ok')
                       + '<table>%s</table><ul>%s</ul>' % (''.join(rows), ''.join(notes)))

    def page_log(self, params):
        job = params['job'][0]
        number = int(params['n'][0])
        text = self.server.store.log_tail(job, number)
        lines = []
        for line in text.splitlines():
            shown = html.escape(line)
            if line.startswith(('error:', 'fatal:')):
                lines.append('<b class="bad">%s</b>' % shown)
            else:
                lines.append('<span>%s</span>' % shown)
        self.send_page('%s #%d' % (job, number), '<pre>%s</pre>' % '\n'.join(lines))

    def page_search(self, params):
        query = params.get('q', [''])[0][:80]
        state = params.get('state', [''])[0]
        log.info('search for %r in state %r', query, state)
        hits = [b for b in self.server.store.builds
                if query.lower() in b['job'].lower() and state in ('', b.get('state'))]
        body = render_search_box(query, state)
        if hits:
            body += '<table>%s</table>' % ''.join(render_row(b) for b in hits[:200])
        else:
            body += '<p>Nothing found for <i>%s</i>.</p>' % html.escape(query)
        self.send_page('Search', body)

    def page_go(self, params):
        target = params.get('to', ['/'])[0]
        if not LOCAL_PATH.fullmatch(target):
            target = '/'
        self.send_response(302)
        self.send_header('Location', target)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def page_raw(self, params):
        job = params['job'][0]
        number = int(params['n'][0])
        label = params.get('label', ['build'])[0]
        data = self.server.store.log_tail(job, number).encode('utf-8')
        label = re.sub(r'[^A-Za-z0-9_.-]', '_', label)
        self.send_response(200)
        self.send_header('Content-Type', 'text/plain; charset=utf-8')
        self.send_header('X-Content-Type-Options', 'nosniff')
        self.send_header('Content-Disposition', 'attachment; filename="%s-%d.log"' % (label, number))
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send_page(self, title, body, status=200):
        data = (PAGE % (html.escape(title), body)).encode('utf-8')
        self.send_response(status)
        self.send_header('Content-Type', 'text/html; charset=utf-8')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):
        log.debug('%s %r', self.address_string(), format % args)


def main():
    logging.basicConfig(level=logging.INFO)
    server = ThreadingHTTPServer(('127.0.0.1', 8095), BoardHandler)
    server.store = BuildStore(SPOOL)
    server.note_key = os.environ.get('FARM_NOTE_KEY', '')
    if len(server.note_key) < 16:
        raise SystemExit('FARM_NOTE_KEY is missing or too short')
    server.serve_forever()


if __name__ == '__main__':
    main()
