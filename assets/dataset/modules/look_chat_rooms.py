# -*- coding: utf-8 -*-
import base64
import datetime
import hashlib
import hmac
import html
import io
import json
import logging
import os
import random
import re
import secrets
import time
import zipfile

import jwt
import tornado.web
import tornado.websocket
from PIL import Image
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from plauder.store import rooms, messages, users, invites

log = logging.getLogger('plauder.rooms')

MENTION = re.compile(r'@([a-z0-9_]{2,30})')
LINK = re.compile(r'https?://[^\s<>"]{3,500}')
ROOM_NAME = re.compile(r'[a-z0-9][a-z0-9-]{1,39}')
HISTORY_MAX = 200
MESSAGE_MAX = 4000
AVATAR_MAX = 512 * 1024
AVATAR_PIXELS = 4096 * 4096
GREETINGS = ['Hello', 'Moin', 'Servus', 'Welcome back']


def greeting(user):
    return '%s, %s!' % (random.choice(GREETINGS), user['nick'])


def message_html(text, known_nicks):
    '''HTML of one message: line breaks, links and mentions.'''
    text = html.escape(text[:MESSAGE_MAX], quote=True)

    def as_link(match):
        url = match.group(0)
        label = url if len(url) < 60 else url[:57] + '...'
        return '<a href="%s" rel="noopener nofollow">%s</a>' % (url, label)

    def as_mention(match):
        nick = match.group(1)
        if nick not in known_nicks:
            return match.group(0)
        return '<span class="mention" data-nick="%s">@%s</span>' % (nick, nick)

    lines = []
    for line in text.split('\n'):
        line = MENTION.sub(as_mention, line)
        line = LINK.sub(as_link, line)
        lines.append(line)
    return '<br>'.join(lines)


class ApiHandler(tornado.web.RequestHandler):

    async def prepare(self):
        self.user = None
        header = self.request.headers.get('Authorization', '')
        if not header.startswith('Bearer '):
            self.send_error(401)
            return
        try:
            claims = jwt.decode(header[7:], self.settings['jwt_key'], algorithms=['HS256'],
                                options={'require': ['exp', 'sub']})
        except jwt.InvalidTokenError as exc:
            log.info('token refused: %s', type(exc).__name__)
            self.send_error(401)
            return
        self.user = await users.find_one({'_id': str(claims['sub']), 'disabled': False})
        if self.user is None:
            self.send_error(401)

    def body(self):
        try:
            data = json.loads(self.request.body or b'{}')
        except ValueError:
            raise tornado.web.HTTPError(400)
        if not isinstance(data, dict):
            raise tornado.web.HTTPError(400)
        return data


class HistoryHandler(ApiHandler):

    async def post(self, room_id):
        '''Messages of a room, newest first, narrowed by author or by a word.'''
        data = self.body()
        room = await rooms.find_one({'_id': room_id})
        if room is None:
            raise tornado.web.HTTPError(404)
        if room['private'] and self.user['_id'] not in room['members']:
            raise tornado.web.HTTPError(404)
        query = {'room': room_id, 'deleted': False}
        if data.get('author'):
            query['author'] = str(data['author'])
        if data.get('before'):
            query['sent'] = {'$lt': float(data['before'])}
        word = str(data.get('word', ''))[:60]
        if word:
            query['text'] = {'$regex': re.escape(word), '$options': 'i'}
        limit = max(1, min(int(data.get('limit', 50)), HISTORY_MAX))
        found = []
        async for msg in messages.find(query).sort('sent', -1).limit(limit):
            found.append({
                'id': str(msg['_id']),
                'author': msg['author'],
                'sent': msg['sent'],
                'html': message_html(msg['text'], room['members']),
            })
        self.write({'room': room['name'], 'messages': found, 'more': len(found) == limit})


class MembersHandler(ApiHandler):

    async def delete(self, room_id, user_id):
        '''Take a member out of a room; also used for leaving it.'''
        room = await rooms.find_one({'_id': room_id})
        if room is None or user_id not in room['members']:
            raise tornado.web.HTTPError(404)
        if user_id != self.user['_id'] and self.user['_id'] not in room['moderators']:
            raise tornado.web.HTTPError(403)
        if room['moderators'] == [user_id] and len(room['members']) > 1:
            raise tornado.web.HTTPError(409, reason='the last moderator cannot leave')
        await rooms.update_one({'_id': room_id}, {'$pull': {'members': user_id, 'moderators': user_id}})
        await messages.insert_one({
            'room': room_id, 'author': None, 'deleted': False, 'sent': time.time(),
            'text': '%s has left' % user_id,
        })
        if room['hooks'] and user_id != self.user['_id']:
            log.info('room %s: member taken out, %d hooks to tell', room_id, len(room['hooks']))
        self.set_status(204)

    async def post(self, room_id, _):
        '''Make an invitation code for a room.'''
        room = await rooms.find_one({'_id': room_id, 'moderators': self.user['_id']})
        if room is None:
            raise tornado.web.HTTPError(404)
        days = max(1, min(int(self.body().get('days', 3)), 30))
        code = secrets.token_urlsafe(18)
        expires = datetime.datetime.utcnow() + datetime.timedelta(days=days)
        await invites.insert_one({'room': room_id, 'code': code, 'expires': expires, 'by': self.user['_id']})
        pending = await invites.count_documents({'room': room_id})
        if pending > 50:
            oldest = await invites.find({'room': room_id}).sort('expires', 1).to_list(pending - 50)
            await invites.delete_many({'_id': {'$in': [entry['_id'] for entry in oldest]}})
        self.write({'code': code, 'expires': expires.isoformat()})


class HookHandler(tornado.web.RequestHandler):

    def check_xsrf_cookie(self):
        pass

    async def post(self, room_id, hook_id):
        '''Messages which other programs post into a room.'''
        room = await rooms.find_one({'_id': room_id})
        hook = next((h for h in (room or {}).get('hooks', []) if h['id'] == hook_id), None)
        if hook is None:
            raise tornado.web.HTTPError(404)
        stamp = self.request.headers.get('X-Plauder-Time', '0')
        given = self.request.headers.get('X-Plauder-Signature', '')
        if not stamp.isdigit() or abs(time.time() - int(stamp)) > 300:
            raise tornado.web.HTTPError(400)
        wanted = hmac.new(hook['secret'].encode(), stamp.encode() + b'.' + self.request.body,
                          hashlib.sha256).hexdigest()
        if not hmac.compare_digest(wanted.encode(), given.encode()):
            log.info('hook %s: signature differs', hook['id'])
            raise tornado.web.HTTPError(403)
        try:
            data = json.loads(self.request.body)
            text = str(data['text'])[:MESSAGE_MAX]
        except (ValueError, KeyError, TypeError):
            raise tornado.web.HTTPError(400)
        await messages.insert_one({
            'room': room_id, 'author': hook['name'], 'text': text,
            'sent': time.time(), 'deleted': False,
        })
        self.write({'ok': True})


class AvatarHandler(ApiHandler):

    async def put(self, service):
        '''Take over the picture which the user has with another service.'''
        templates = self.settings['avatar_services']
        if service not in templates:
            raise tornado.web.HTTPError(404)
        name = str(self.body().get('name', ''))
        if not re.fullmatch(r'[A-Za-z0-9_-]{1,40}', name):
            raise tornado.web.HTTPError(400)
        try:
            answer = await AsyncHTTPClient().fetch(
                templates[service] % name, request_timeout=8, follow_redirects=False, validate_cert=True)
        except (HTTPClientError, OSError):
            raise tornado.web.HTTPError(502)
        if len(answer.body) > AVATAR_MAX:
            raise tornado.web.HTTPError(413)
        try:
            picture = Image.open(io.BytesIO(answer.body), formats=['PNG', 'JPEG'])
        except OSError:
            raise tornado.web.HTTPError(415)
        if picture.width * picture.height > AVATAR_PIXELS:
            raise tornado.web.HTTPError(413)
        picture = picture.convert('RGB')
        picture.thumbnail((128, 128))
        out = io.BytesIO()
        picture.save(out, 'PNG')
        data = 'data:image/png;base64,' + base64.b64encode(out.getvalue()).decode()
        await users.update_one({'_id': self.user['_id']}, {'$set': {'avatar': data}})
        self.write({'avatar': data})


class ExportHandler(ApiHandler):

    async def get(self, room_id):
        '''Monthly archive of a room, as the nightly job has packed it.'''
        room = await rooms.find_one({'_id': room_id, 'members': self.user['_id']})
        if room is None:
            raise tornado.web.HTTPError(404)
        base = os.path.realpath(os.path.join(self.settings['export_dir'], room['name']))
        month = self.get_query_argument('month', time.strftime('%Y-%m'))
        path = os.path.realpath(os.path.join(base, month + '.zip'))
        if not path.startswith(base + os.sep) or not os.path.isfile(path):
            raise tornado.web.HTTPError(404)
        with zipfile.ZipFile(path) as packed:
            count = len(packed.namelist())
        self.set_header('Content-Type', 'application/zip')
        self.set_header('X-Message-Files', str(count))
        with open(path, 'rb') as src:
            while True:
                chunk = src.read(64 * 1024)
                if not chunk:
                    break
                self.write(chunk)
                await self.flush()


class Live(tornado.websocket.WebSocketHandler):
    '''Pushes new messages to the open windows.'''

    open_windows = {}

    def check_origin(self, origin):
        allowed = self.settings['origins']
        return origin.rstrip('/').lower() in allowed

    async def open(self, room_id):
        name = self.get_signed_cookie('nick', max_age_days=7)
        user = await users.find_one({'nick': name.decode()}) if name else None
        room = await rooms.find_one({'_id': room_id})
        if user is None or room is None or user['_id'] not in room['members']:
            self.close(4003, 'not a member')
            return
        self.room_id = room_id
        Live.open_windows.setdefault(room_id, set()).add(self)
        await self.write_message({'hello': greeting(user)})

    def on_close(self):
        Live.open_windows.get(getattr(self, 'room_id', None), set()).discard(self)
