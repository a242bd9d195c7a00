# -*- coding: utf-8 -*-
#
# ParishWiki: a wiki in one file. Runs under any WSGI server.
# Pages are rows in one sqlite file; the markup is the old "moin light" we
# have used since 2006, see the page HelpOnMarkup.

import datetime
import hashlib
import hmac
import os
import re
import sqlite3
import sys
from html import escape
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape as xml_escape, quoteattr

WORD = re.compile(r'\b((?:[A-Z][a-z]+){2,})\b')
LINK = re.compile(r'\[\[([^|\]]+)(?:\|([^\]]*))?\]\]')
PAGE_NAME = re.compile(r'[A-Z][A-Za-z0-9]{1,60}\Z')
THEMES = ('plain', 'green', 'advent')
POST_LIMIT = 256 * 1024

SKIN = u"""<html><head><title>%(title)s</title>
<link rel="stylesheet" href="/theme/%(theme)s.css"></head>
<body><h1>%(title)s</h1>
%(body)s
<hr><a href="/FrontPage">Front page</a> | <a href="/-/changes">Recent changes</a>
</body></html>"""


class HttpError(Exception):

    def __init__(self, status, text):
        Exception.__init__(self, text)
        self.status = status
        self.text = text


class Pages(object):

    def __init__(self, filename):
        self.db = sqlite3.connect(filename, check_same_thread=False)
        self.db.execute('create table if not exists page '
                        '(name text, stamp text, author text, body text)')

    def load(self, name):
        row = self.db.execute('select body, author, stamp from page where name = ? '
                              'order by stamp desc limit 1', (name,)).fetchone()
        return row

    def save(self, name, author, body):
        stamp = datetime.datetime.utcnow().isoformat()
        with self.db:
            self.db.execute('insert into page values (?, ?, ?, ?)',
                            (name, stamp, author, body))

    def grep(self, words, newest_first=True):
        sql = 'select distinct name from page where 1 = 1'
        args = []
        for word in words:
            sql += ' and body like ?'
            args.append('%' + word + '%')
        sql += ' order by stamp desc' if newest_first else ' order by name'
        return [row[0] for row in self.db.execute(sql, args)]

    def changes(self, count=30):
        return self.db.execute('select name, author, stamp from page '
                               'order by stamp desc limit ?', (count,)).fetchall()


class Markup(object):
    """Renders one page. Line based; an empty line closes the paragraph."""

    def __init__(self, known=()):
        self.known = set(known)
        self.out = []
        self.in_list = False

    def page_link(self, match):
        name = match.group(1)
        if name in self.known:
            return '<a href="/%s">%s</a>' % (name, name)
        return '%s<a class="new" href="/%s?do=edit">?</a>' % (name, name)

    def free_link(self, match):
        target, label = match.group(1).strip(), match.group(2)
        if not target.lower().startswith(('http://', 'https://', 'mailto:')):
            return label or target
        return '<a class="ext" href="%s">%s</a>' % (target, label or target)

    def inline(self, text):
        text = escape(text, quote=True)
        text = re.sub(r"'''(.+?)'''".replace("'", '&#x27;'), r'<b>\1</b>', text)
        pieces = []
        pos = 0
        for match in LINK.finditer(text):
            pieces.append(WORD.sub(self.page_link, text[pos:match.start()]))
            pieces.append(self.free_link(match))
            pos = match.end()
        pieces.append(WORD.sub(self.page_link, text[pos:]))
        return ''.join(pieces)

    def render(self, source):
        for line in source.splitlines():
            line = line.rstrip()
            item = line.startswith(' * ')
            if self.in_list and not item:
                self.out.append('</ul>')
            elif item and not self.in_list:
                self.out.append('<ul>')
            self.in_list = item
            if item:
                self.out.append('<li>%s</li>' % self.inline(line[3:]))
            elif line.startswith('== '):
                self.out.append('<h2>%s</h2>' % escape(line.strip('= ')))
            elif line == '----':
                self.out.append('<hr>')
            elif line:
                self.out.append('<p>%s</p>' % self.inline(line))
        if self.in_list:
            self.out.append('</ul>')
        return '\n'.join(self.out)


class Wiki(object):

    def __init__(self, pages, edit_secret, users):
        self.pages = pages
        self.secret = edit_secret.encode('utf-8')
        self.users = users

    def __call__(self, environ, start_response):
        path = environ.get('PATH_INFO', '/').strip('/') or 'FrontPage'
        args = dict(parse_qsl(environ.get('QUERY_STRING', '')))
        headers = [('Content-Type', 'text/html; charset=utf-8'),
                   ('X-Frame-Options', 'SAMEORIGIN')]
        status = '200 OK'
        try:
            if path == '-/changes':
                title, body = 'Recent changes', self.show_changes()
            elif path == '-/feed':
                headers[0] = ('Content-Type', 'application/rss+xml; charset=utf-8')
                start_response(status, headers)
                return [self.feed(environ).encode('utf-8')]
            elif path == '-/find':
                title, body = 'Search', self.find(args.get('words', ''))
            elif path == '-/theme':
                start_response('303 See Other', self.set_theme(args))
                return [b'']
            elif environ['REQUEST_METHOD'] == 'POST':
                self.store(path, environ)
                start_response('303 See Other', [('Location', '/' + quote(path))])
                return [b'']
            elif args.get('do') == 'edit':
                title, body = 'Edit ' + path, self.edit_form(path, environ)
            else:
                title, body = path, self.show(path)
        except HttpError as e:
            status, title, body = e.status, 'Sorry', '<p>%s</p>' % escape(e.text)
        start_response(status, headers)
        page = SKIN % {'title': escape(title), 'body': body, 'theme': self.theme(environ)}
        return [page.encode('utf-8')]

    def theme(self, environ):
        for pair in environ.get('HTTP_COOKIE', '').split(';'):
            key, _, value = pair.strip().partition('=')
            if key == 'theme' and value in THEMES:
                return value
        return THEMES[0]

    def set_theme(self, args):
        theme = args.get('name', '')
        if theme not in THEMES:
            raise HttpError('400 Bad Request', 'There is no theme called %s.' % theme)
        back = args.get('page', 'FrontPage')
        if not PAGE_NAME.match(back):
            back = 'FrontPage'
        return [('Set-Cookie', 'theme=%s; Path=/; HttpOnly; SameSite=Lax' % theme),
                ('Location', '/' + back)]

    def show(self, name):
        row = self.pages.load(name)
        if row is None:
            return '<p>No page %s yet. <a href="/%s?do=edit">Write it</a></p>' % (
                escape(name), quote(name))
        body, author, stamp = row
        known = [change[0] for change in self.pages.changes(500)]
        return '%s<p class="foot">Last changed by %s, %s</p>' % (
            Markup(known).render(body), escape(author), stamp[:16])

    def show_changes(self):
        items = []
        for name, author, stamp in self.pages.changes():
            items.append('<li>%s <a href="/%s">%s</a> by %s</li>' % (
                stamp[:10], quote(name), escape(name), escape(author)))
        return '<ul>' + '\n'.join(items) + '</ul>'

    def find(self, words):
        names = self.pages.grep(words.split()[:5], newest_first=False)
        html = '<form action="/-/find"><input name="words" value=%s></form>' % quoteattr(words)
        if not words.strip():
            return html
        html += '<p>%d pages with <i>%s</i></p>' % (len(names), escape(words))
        for name in names:
            html += '<a href="/%s">%s</a><br>' % (quote(name), escape(name))
        return html

    def ticket(self, user, name):
        text = ('%s/%s' % (user, name)).encode('utf-8')
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()

    def edit_form(self, name, environ):
        user = environ.get('REMOTE_USER', '')
        row = self.pages.load(name)
        return ('<form method="post" action="/%s"><textarea name="body">%s</textarea>'
                '<input type="hidden" name="ticket" value="%s"><button>Save</button></form>'
                % (quote(name), escape(row[0] if row else ''), self.ticket(user, name)))

    def store(self, name, environ):
        user = environ.get('REMOTE_USER', '')
        if user not in self.users:
            raise HttpError('403 Forbidden', 'Only parishioners with an account can write.')
        if not PAGE_NAME.match(name):
            raise HttpError('400 Bad Request', 'Page names are WordsRunTogether.')
        length = int(environ.get('CONTENT_LENGTH') or 0)
        if not 0 <= length <= POST_LIMIT:
            raise HttpError('413 Too Large', 'That page is too long.')
        raw = environ['wsgi.input'].read(length).decode('utf-8', 'replace')
        form = dict(parse_qsl(raw, keep_blank_values=True))
        if not hmac.compare_digest(form.get('ticket', '').encode('utf-8'),
                                   self.ticket(user, name).encode('utf-8')):
            raise HttpError('409 Conflict', 'Please open the page again and retry.')
        self.pages.save(name, user, form.get('body', ''))
        print('saved %s by %r' % (name, user), file=sys.stderr)

    def feed(self, environ):
        site = 'https://' + os.environ.get('WIKI_HOST', 'wiki.example.org')
        items = []
        for name, author, stamp in self.pages.changes():
            items.append('<item><title>%s</title><author>%s</author><link>%s</link></item>' % (
                xml_escape(name), xml_escape(author), xml_escape(site + '/' + quote(name))))
        return ('<?xml version="1.0"?><rss version="2.0"><channel><title>ParishWiki</title>'
                + ''.join(items) + '</channel></rss>')
