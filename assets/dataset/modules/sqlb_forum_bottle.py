#!/usr/bin/env python
# -*- coding: utf-8 -*-
#
# Small forum engine on bottle and MySQLdb.  Runs on Python 3.5 and up.

import datetime
import logging
import os
import random
import re
import subprocess
import time
import zlib

import MySQLdb
import MySQLdb.cursors
from bottle import abort, auth_basic, html_escape, redirect, request, response, Bottle

from forum import accounts, conf
from forum.render import page, render_markup

logger = logging.getLogger('forum')
app = Bottle()

ORDERS = {'new': 't.last_post DESC', 'old': 't.last_post ASC', 'hot': 't.posts DESC'}
TAG_RE = re.compile(r'^[a-z0-9][a-z0-9-]{0,30}\Z')
ATTACH_DIR = os.path.realpath(conf.ATTACH_DIR)


class Store(object):

    def __init__(self, settings):
        self.settings = settings
        self._conn = None

    @property
    def conn(self):
        if self._conn is None:
            self._conn = MySQLdb.connect(charset='utf8mb4',
                                         cursorclass=MySQLdb.cursors.DictCursor,
                                         **self.settings)
            self._conn.autocommit(True)
        return self._conn

    def rows(self, sql, args=None):
        cur = self.conn.cursor()
        try:
            cur.execute(sql, args)
            return cur.fetchall()
        finally:
            cur.close()

    def row(self, sql, args=None):
        found = self.rows(sql, args)
        return found[0] if found else None

    def threads(self, board, order='new', author=None, start=0):
        sql = ('SELECT t.id, t.title, t.posts, t.last_post, u.name '
               'FROM thread t JOIN user u ON u.id = t.user_id '
               'WHERE t.board = %s AND t.hidden = 0')
        args = [board]
        if author:
            sql += ' AND u.name = %s'
            args.append(author)
        sql += ' ORDER BY ' + ORDERS.get(order, ORDERS['new'])
        sql += ' LIMIT %d, 30' % int(start)
        return self.rows(sql, args)

    def search(self, words, boards):
        """Threads that hold all of the words."""
        tests = []
        args = []
        for word in words[:8]:
            tests.append('p.body LIKE %s')
            args.append('%' + word.replace('%', r'\%').replace('_', r'\_') + '%')
        if not tests:
            return []
        if boards:
            tests.append('t.board IN (%s)' % ', '.join(['%s'] * len(boards)))
            args.extend(boards)
        sql = ('SELECT DISTINCT t.id, t.title FROM thread t '
               'JOIN post p ON p.thread_id = t.id '
               'WHERE t.hidden = 0 AND ' + ' AND '.join(tests) + ' LIMIT 100')
        began = time.time()
        found = self.rows(sql, args)
        logger.info('search took %.3fs, %d found', time.time() - began, len(found))
        return found

    def add_post(self, thread_id, user_id, body):
        cur = self.conn.cursor()
        try:
            self.conn.begin()
            cur.execute('INSERT INTO post (thread_id, user_id, body, made) '
                        'VALUES (%s, %s, %s, NOW())', (thread_id, user_id, body))
            post_id = cur.lastrowid
            cur.execute('UPDATE thread SET posts = posts + 1, last_post = NOW() '
                        'WHERE id = %s', (thread_id,))
            self.conn.commit()
        except MySQLdb.Error:
            self.conn.rollback()
            logger.exception('could not store post')
            raise
        finally:
            cur.close()
        return post_id

    def prune(self, days):
        cutoff = datetime.datetime.now() - datetime.timedelta(days=days)
        for table in ('session', 'draft', 'notice'):
            self.rows('DELETE FROM %s WHERE made < %%s' % table, (cutoff,))


store = Store(conf.MYSQL)


@app.get('/b/<board>')
def show_board(board):
    info = store.row('SELECT name, about FROM board WHERE slug = %s', (board,))
    if info is None:
        abort(404, 'No such board.')
    try:
        start = max(0, int(request.query.get('start', 0)))
    except ValueError:
        start = 0
    rows = store.threads(board, request.query.get('order', 'new'),
                         request.query.getunicode('author'), start)
    return page('board', info=info, rows=rows, start=start)


@app.get('/tag/<tag>')
def show_tag(tag):
    if not TAG_RE.match(tag):
        abort(404, 'No such tag.')
    rows = store.rows("SELECT t.id, t.title FROM thread t "
                      "WHERE FIND_IN_SET('%s', t.tags) AND t.hidden = 0 "
                      "ORDER BY t.last_post DESC LIMIT 60" % tag)
    return page('tag', tag=tag, rows=rows)


@app.get('/search')
def do_search():
    text = request.query.getunicode('q') or ''
    words = text.split()
    boards = request.query.getall('b')
    out = ['<h1>Results for &ldquo;%s&rdquo;</h1>' % html_escape(text), '<ul>']
    for row in store.search(words, boards):
        out.append('<li><a href="/t/%d">%s</a></li>' % (row['id'], html_escape(row['title'])))
    out.append('</ul>')
    return page('plain', body='\n'.join(out))


@app.post('/t/<thread_id:int>/edit/<post_id:int>')
def edit_post(thread_id, post_id):
    user = accounts.current(request)
    if user is None:
        abort(401, 'Log in first.')
    accounts.check_form_token(request)
    post = store.row('SELECT user_id FROM post WHERE id = %s AND thread_id = %s',
                     (post_id, thread_id))
    if post is None:
        abort(404, 'No such post.')
    if post['user_id'] != user['id'] and not user['moderator']:
        abort(403, 'Not your post.')
    body = request.forms.getunicode('body', '').strip()
    if not body or len(body) > conf.MAX_BODY:
        abort(400, 'Text missing or too long.')
    store.rows('UPDATE post SET body = %s, html = %s, edited = NOW() WHERE id = %s',
               (body, render_markup(body), post_id))
    redirect('/t/%d#p%d' % (thread_id, post_id))


@app.get('/attachment/<name:path>')
def attachment(name):
    path = os.path.realpath(os.path.join(ATTACH_DIR, name))
    if not path.startswith(ATTACH_DIR + os.sep) or not os.path.isfile(path):
        abort(404, 'No such file.')
    response.content_type = 'application/octet-stream'
    response.set_header('X-Content-Type-Options', 'nosniff')
    with open(path, 'rb') as f:
        return f.read()


@app.get('/admin/users')
@auth_basic(accounts.is_admin, realm='forum')
def admin_users():
    name = request.query.getunicode('name') or ''
    since = request.query.get('since') or '2000-01-01'
    rows = store.rows('SELECT id, name, email, joined FROM user '
                      'WHERE name LIKE CONCAT(%(name)s, "%%") AND joined >= %(since)s '
                      'ORDER BY joined LIMIT 300', {'name': name, 'since': since})
    return page('users', rows=rows, name=name)


def avatar_colour(name):
    return '#%06x' % (zlib.crc32(name.encode('utf-8')) & 0xffffff)


def tip_of_the_day():
    tips = store.rows('SELECT text FROM tip WHERE shown = 1')
    return random.choice(tips)['text'] if tips else ''


def revision():
    out = subprocess.check_output(['git', 'rev-parse', '--short', 'HEAD'], cwd=conf.HOME)
    return out.decode('ascii').strip()
