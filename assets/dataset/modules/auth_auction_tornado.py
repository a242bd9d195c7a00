# Live auction rooms. One process per house, behind nginx on the same machine.
import functools
import hashlib
import html
import json
import logging
import os
import re
import sqlite3
import subprocess
import time
import urllib.parse
from collections import defaultdict, deque

import bcrypt
import tornado.escape
import tornado.httpserver
import tornado.ioloop
import tornado.web
import tornado.websocket
from tornado.options import define, options

define('port', default=8800, type=int)
define('address', default='127.0.0.1')
define('config', default='/etc/auction/auction.json')

logger = logging.getLogger('auction')

LOT_CODE = re.compile(r'[A-Z]{1,3}[0-9]{1,5}')
MAX_BID_CENTS = 50000000
BIDS_PER_MINUTE = 30
STATES = ('open', 'closing', 'closed')


def read_config(path):
    with open(path) as f:
        config = json.load(f)
    for key in ('cookie_secret', 'database', 'origins', 'catalogue_dir'):
        if not config.get(key):
            raise SystemExit('%s: %s is missing' % (path, key))
    return config


def auctioneer(method):
    @functools.wraps(method)
    def wrapper(self, *args, **kwargs):
        if not self.current_user:
            raise tornado.web.HTTPError(401)
        if self.current_user['role'] != 'auctioneer':
            logger.info('user %d turned away from %s', self.current_user['id'], self.request.path)
            raise tornado.web.HTTPError(403)
        return method(self, *args, **kwargs)
    return wrapper


class Base(tornado.web.RequestHandler):
    @property
    def db(self):
        return self.application.db

    def get_current_user(self):
        raw = self.get_secure_cookie('auction_user', max_age_days=1)
        if raw is None:
            return None
        try:
            user_id = int(raw)
        except ValueError:
            return None
        row = self.db.execute(
            'SELECT id, name, role FROM users WHERE id = ? AND blocked = 0', (user_id,)).fetchone()
        return dict(row) if row else None

    def write_error(self, status_code, **kwargs):
        reference = '%x' % int(time.time() * 1000)
        if status_code >= 500:
            logger.error('reference %s', reference, exc_info=kwargs.get('exc_info'))
        self.set_header('Content-Type', 'text/html; charset=utf-8')
        self.finish('<h1>%d %s</h1><p>Reference %s</p>' % (status_code, html.escape(self._reason), reference))

    def set_default_headers(self):
        origin = self.request.headers.get('Origin')
        if origin in self.application.origins:
            self.set_header('Access-Control-Allow-Origin', origin)
            self.set_header('Access-Control-Allow-Credentials', 'true')
            self.set_header('Vary', 'Origin')


class LoginHandler(Base):
    def get(self):
        self.render('login.html', next=self.get_argument('next', '/'), error=None)

    async def post(self):
        name = self.get_body_argument('name')
        password = self.get_body_argument('password')
        target = self.get_body_argument('next', '/')
        if not self.application.attempts.allow(self.request.remote_ip, 10):
            raise tornado.web.HTTPError(429)

        row = self.db.execute('SELECT id, password_hash FROM users WHERE name = ?', (name,)).fetchone()
        stored = row['password_hash'] if row else self.application.dummy_hash
        loop = tornado.ioloop.IOLoop.current()
        matches = await loop.run_in_executor(None, bcrypt.checkpw, password.encode(), stored)
        if not row or not matches:
            self.set_status(401)
            self.render('login.html', next=target, error='Wrong name or password.')
            return

        self.set_secure_cookie(
            'auction_user', str(row['id']), expires_days=1,
            secure=True, httponly=True, samesite='Strict')
        logger.info('user %d logged in', row['id'])
        if not re.fullmatch(r'/(?:[A-Za-z0-9_-][A-Za-z0-9_/.?=&-]*)?', target):
            target = '/'
        self.redirect(target)


class Throttle(object):
    """Counts events per key over the last minute."""

    def __init__(self, window=60.0):
        self.window = window
        self.events = defaultdict(deque)

    def allow(self, key, limit):
        now = time.monotonic()
        queue = self.events[key]
        while queue and now - queue[0] > self.window:
            queue.popleft()
        if len(queue) >= limit:
            return False
        queue.append(now)
        return True


class LotHandler(Base):
    @tornado.web.authenticated
    def get(self, code):
        if not LOT_CODE.fullmatch(code):
            raise tornado.web.HTTPError(404)
        path = os.path.join(self.application.catalogue_dir, code + '.json')
        try:
            with open(path, encoding='utf-8') as f:
                lot = json.load(f)
        except FileNotFoundError:
            raise tornado.web.HTTPError(404)
        etag = hashlib.md5(json.dumps(lot, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
        self.set_header('Etag', '"%s"' % etag)
        self.write(
            '<h2>%s</h2><p class="maker">%s</p><div>%s</div>' % (
                tornado.escape.xhtml_escape(lot['title']),
                tornado.escape.xhtml_escape(lot.get('maker', '')),
                tornado.escape.xhtml_escape(lot['description']),
            ))

    @auctioneer
    def post(self, code):
        state = self.get_body_argument('state')
        if state not in STATES:
            raise tornado.web.HTTPError(400)
        logger.info('user %d sets lot %s to %s', self.current_user['id'], json.dumps(code), state)
        changed = self.db.execute('UPDATE lots SET state = ? WHERE code = ?', (state, code)).rowcount
        self.db.commit()
        if not changed:
            raise tornado.web.HTTPError(404)
        RoomSocket.announce(code, {'type': 'state', 'state': state})
        self.write({'ok': True})


class BidsHandler(Base):
    @tornado.web.authenticated
    def get(self):
        """The caller's own bids, newest first."""
        order = 'amount DESC' if self.get_argument('by', 'time') == 'amount' else 'placed_at DESC'
        rows = self.db.execute(
            'SELECT lot, amount, placed_at FROM bids WHERE user_id = ? ORDER BY ' + order + ' LIMIT 200',
            (self.current_user['id'],)).fetchall()
        self.write({'bids': [dict(row) for row in rows]})

    @tornado.web.authenticated
    def delete(self):
        bid_id = self.get_query_argument('id')
        with self.db:
            done = self.db.execute(
                'UPDATE bids SET withdrawn = 1 WHERE id = ? AND user_id = ?',
                (bid_id, self.current_user['id'])).rowcount
        if not done:
            raise tornado.web.HTTPError(404)
        self.set_status(204)


class RoomSocket(tornado.websocket.WebSocketHandler, Base):
    rooms = defaultdict(set)

    def check_origin(self, origin):
        return origin in self.application.origins

    async def open(self, code):
        if self.current_user is None:
            self.close(4401, 'log in first')
            return
        self.code = code
        RoomSocket.rooms[code].add(self)
        rows = self.db.execute(
            'SELECT amount FROM bids WHERE lot = ? AND withdrawn = 0 ORDER BY amount DESC LIMIT 1', (code,))
        best = rows.fetchone()
        await self.write_message({'type': 'best', 'amount': best['amount'] if best else 0})

    def on_message(self, message):
        user = self.current_user
        if user is None or not hasattr(self, 'code'):
            self.close(4401, 'log in first')
            return
        if not self.application.attempts.allow('bid-%d' % user['id'], BIDS_PER_MINUTE):
            self.write_message({'type': 'error', 'text': 'slow down'})
            return
        try:
            amount = int(json.loads(message)['amount'])
        except (ValueError, KeyError, TypeError):
            self.write_message({'type': 'error', 'text': 'not a bid'})
            return
        if not 0 < amount <= MAX_BID_CENTS:
            self.write_message({'type': 'error', 'text': 'amount out of range'})
            return
        with self.db:
            placed = self.db.execute(
                'INSERT INTO bids (lot, user_id, amount, placed_at) SELECT ?, ?, ?, ? '
                "WHERE EXISTS (SELECT 1 FROM lots WHERE code = ? AND state = 'open')",
                (self.code, user['id'], amount, time.time(), self.code)).rowcount
        if placed:
            RoomSocket.announce(self.code, {'type': 'bid', 'amount': amount, 'by': user['name']})

    def on_close(self):
        RoomSocket.rooms[getattr(self, 'code', None)].discard(self)

    @classmethod
    def announce(cls, code, message):
        for socket in list(cls.rooms[code]):
            try:
                socket.write_message(message)
            except tornado.websocket.WebSocketClosedError:
                cls.rooms[code].discard(socket)


class StatusHandler(Base):
    @auctioneer
    def get(self):
        uptime = subprocess.run(['uptime', '-p'], stdout=subprocess.PIPE, timeout=5).stdout
        self.write({
            'uptime': uptime.decode('ascii', 'replace').strip(),
            'rooms': {code: len(members) for code, members in RoomSocket.rooms.items()},
        })


class SearchRedirect(Base):
    def get(self):
        words = self.get_argument('q', '')[:80]
        self.redirect('https://www.hallbury-auctions.example/search?' + urllib.parse.urlencode({'q': words}))


def make_app(config):
    app = tornado.web.Application(
        [
            (r'/login', LoginHandler),
            (r'/lots/([^/]+)', LotHandler),
            (r'/bids', BidsHandler),
            (r'/room/([A-Z0-9]+)', RoomSocket),
            (r'/status', StatusHandler),
            (r'/search', SearchRedirect),
        ],
        cookie_secret=config['cookie_secret'],
        xsrf_cookies=True,
        login_url='/login',
        debug=False,
        websocket_max_message_size=4096,
    )
    app.db = sqlite3.connect(config['database'])
    app.db.row_factory = sqlite3.Row
    app.origins = frozenset(config['origins'])
    app.catalogue_dir = config['catalogue_dir']
    app.attempts = Throttle()
    app.dummy_hash = bcrypt.hashpw(os.urandom(16).hex().encode(), bcrypt.gensalt())
    return app


def main():
    options.parse_command_line()
    server = tornado.httpserver.HTTPServer(make_app(read_config(options.config)), xheaders=True)
    server.listen(options.port, address=options.address)
    logger.info('listening on %s:%d', options.address, options.port)
    tornado.ioloop.IOLoop.current().start()
