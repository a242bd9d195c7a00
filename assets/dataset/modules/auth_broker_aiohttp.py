"""
Login broker for the lab portal.

Sends people to the university's identity provider, takes the callback, keeps
a session in Redis and answers the portal's questions about who is there.
"""
import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import random
import secrets
import time
from urllib.parse import urlencode, urlsplit

import aiohttp
import jwt
import redis.asyncio as aioredis
from aiohttp import web
from multidict import CIMultiDict

LOG = logging.getLogger('broker')
routes = web.RouteTableDef()

SESSION_TTL = 8 * 3600
STATE_TTL = 600
AVATAR_LIMIT = 512 * 1024
AVATAR_TYPES = {'image/png': 'png', 'image/jpeg': 'jpg'}
COOKIE = '__Host-broker'
FLOW_COOKIE = '__Host-flow'


class Settings:

    def __init__(self, environ):
        self.issuer = environ['BROKER_ISSUER'].rstrip('/')
        self.client_id = environ['BROKER_CLIENT_ID']
        self.client_secret = environ['BROKER_CLIENT_SECRET']
        self.callback = environ['BROKER_CALLBACK']
        self.portals = frozenset(environ.get('BROKER_PORTALS', '').split())
        self.avatar_host = environ.get('BROKER_AVATAR_HOST', 'avatars.campus.example')
        self.redis_url = environ.get('BROKER_REDIS', 'redis://localhost/3')
        self.admins = frozenset(environ.get('BROKER_ADMINS', '').split())
        if urlsplit(self.issuer).scheme != 'https':
            raise ValueError('BROKER_ISSUER must be an https address')


class Sessions:

    def __init__(self, client):
        self._redis = client

    async def create(self, user):
        sid = secrets.token_urlsafe(32)
        record = {'sub': user['sub'], 'mail': user.get('email'), 'since': int(time.time())}
        await self._redis.set('sess:' + self._digest(sid), json.dumps(record), ex=SESSION_TTL)
        return sid

    async def find(self, sid):
        if not sid:
            return None
        raw = await self._redis.get('sess:' + self._digest(sid))
        return json.loads(raw) if raw else None

    async def drop(self, sid):
        await self._redis.delete('sess:' + self._digest(sid))

    @staticmethod
    def _digest(sid):
        return hashlib.sha256(sid.encode()).hexdigest()


def origin_of(url):
    parts = urlsplit(url)
    return '%s://%s' % (parts.scheme, parts.netloc)


def require_login(handler):
    async def wrapped(request):
        session = await request.app['sessions'].find(request.cookies.get(COOKIE))
        if session is None:
            raise web.HTTPUnauthorized(text='log in first')
        request['session'] = session
        return await handler(request)
    return wrapped


def require_admin(handler):
    @require_login
    async def wrapped(request):
        sub = request['session']['sub']
        if sub not in request.app['settings'].admins:
            LOG.warning('subject %r is no admin', sub)
            raise web.HTTPForbidden(text='admins only')
        return await handler(request)
    return wrapped


@web.middleware
async def cors(request, handler):
    if request.method == 'OPTIONS':
        response = web.Response(status=204)
    else:
        response = await handler(request)
    origin = request.headers.get('Origin')
    if origin in request.app['settings'].portals:
        response.headers['Access-Control-Allow-Origin'] = origin
        response.headers['Access-Control-Allow-Credentials'] = 'true'
        response.headers['Access-Control-Allow-Headers'] = 'Content-Type'
    response.headers['Vary'] = 'Origin'
    return response


@web.middleware
async def same_origin_posts(request, handler):
    if request.method not in ('GET', 'HEAD', 'OPTIONS'):
        origin = request.headers.get('Origin', '')
        if origin not in request.app['settings'].portals:
            raise web.HTTPForbidden(text='unknown origin')
    return await handler(request)


@web.middleware
async def errors(request, handler):
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except asyncio.CancelledError:
        raise
    except Exception:
        number = '%06x' % random.randrange(16 ** 6)
        LOG.exception('failure %s in %s', number, handler)
        return web.json_response({'error': 'internal', 'number': number}, status=500)


@routes.get('/login')
async def login(request):
    settings = request.app['settings']
    portal = request.query.get('portal', '')
    if origin_of(portal) not in settings.portals:
        raise web.HTTPBadRequest(text='unknown portal')

    state = secrets.token_urlsafe(24)
    nonce = secrets.token_urlsafe(24)
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b'=').decode()
    flow = {'portal': portal, 'nonce': nonce, 'verifier': verifier}
    await request.app['redis'].set('flow:' + state, json.dumps(flow), ex=STATE_TTL)

    query = urlencode({
        'response_type': 'code',
        'client_id': settings.client_id,
        'redirect_uri': settings.callback,
        'scope': 'openid email',
        'state': state,
        'nonce': nonce,
        'code_challenge': challenge,
        'code_challenge_method': 'S256',
    })
    response = web.HTTPFound(settings.issuer + '/authorize?' + query)
    response.set_cookie(FLOW_COOKIE, state, max_age=STATE_TTL, secure=True, httponly=True, samesite='Lax')
    return response


async def exchange_code(app, code, verifier):
    settings = app['settings']
    form = {
        'grant_type': 'authorization_code',
        'code': code,
        'redirect_uri': settings.callback,
        'code_verifier': verifier,
    }
    auth = aiohttp.BasicAuth(settings.client_id, settings.client_secret)
    async with app['http'].post(settings.issuer + '/token', data=form, auth=auth, allow_redirects=False) as answer:
        if answer.status != 200:
            LOG.warning('token endpoint answered %d', answer.status)
            raise web.HTTPBadGateway(text='identity provider refused the code')
        return await answer.json()


def read_id_token(app, token, nonce):
    settings = app['settings']
    try:
        key = app['keys'].get_signing_key_from_jwt(token).key
        claims = jwt.decode(
            token, key, algorithms=['RS256', 'ES256'],
            audience=settings.client_id, issuer=settings.issuer,
            options={'require': ['exp', 'iat', 'sub', 'nonce']})
    except jwt.PyJWTError as exc:
        LOG.warning('id token refused: %s', type(exc).__name__)
        raise web.HTTPForbidden(text='login failed')
    if not hmac.compare_digest(str(claims['nonce']), nonce):
        raise web.HTTPForbidden(text='login failed')
    return claims


@routes.get('/callback')
async def callback(request):
    state = request.query.get('state', '')
    sent = request.cookies.get(FLOW_COOKIE, '')
    if not state or not hmac.compare_digest(state.encode(), sent.encode()):
        raise web.HTTPForbidden(text='login failed')
    raw = await request.app['redis'].getdel('flow:' + state)
    if raw is None:
        raise web.HTTPForbidden(text='login took too long')
    flow = json.loads(raw)

    tokens = await exchange_code(request.app, request.query.get('code', ''), flow['verifier'])
    user = await asyncio.to_thread(read_id_token, request.app, tokens['id_token'], flow['nonce'])
    old = request.cookies.get(COOKIE)
    if old:
        await request.app['sessions'].drop(old)
    sid = await request.app['sessions'].create(user)
    LOG.info('session for subject %r', user['sub'])

    response = web.HTTPFound(flow['portal'])
    response.set_cookie(COOKIE, sid, max_age=SESSION_TTL, secure=True, httponly=True, samesite='Lax')
    response.del_cookie(FLOW_COOKIE)
    return response


@routes.get('/whoami')
@require_login
async def whoami(request):
    session = request['session']
    return web.json_response({'sub': session['sub'], 'mail': session['mail'], 'since': session['since']})


@routes.post('/logout')
@require_login
async def logout(request):
    await request.app['sessions'].drop(request.cookies[COOKIE])
    response = web.Response(status=204)
    response.del_cookie(COOKIE)
    return response


@routes.get('/avatar/{name}')
@require_login
async def avatar(request):
    """Pass on a picture from the university's avatar server."""
    name = request.match_info['name']
    if not name.isalnum():
        raise web.HTTPNotFound()
    url = 'https://%s/small/%s' % (request.app['settings'].avatar_host, name)
    async with request.app['http'].get(url, allow_redirects=False) as answer:
        if answer.status != 200 or answer.content_type not in AVATAR_TYPES:
            raise web.HTTPNotFound()
        data = bytearray()
        async for chunk in answer.content.iter_chunked(16384):
            data += chunk
            if len(data) > AVATAR_LIMIT:
                raise web.HTTPBadGateway(text='picture too large')
    headers = CIMultiDict({'Cache-Control': 'private, max-age=600', 'X-Content-Type-Options': 'nosniff'})
    return web.Response(body=bytes(data), content_type=answer.content_type, headers=headers)


@routes.post('/admin/notice')
@require_admin
async def set_notice(request):
    body = await request.json()
    text = body.get('text') if isinstance(body, dict) else None
    if not isinstance(text, str) or len(text) > 500:
        raise web.HTTPBadRequest(text='text of at most 500 characters')
    await request.app['redis'].set('notice', text, ex=86400)
    return web.json_response({'notice': text})


async def start(app):
    timeout = aiohttp.ClientTimeout(total=15)
    app['redis'] = aioredis.from_url(app['settings'].redis_url, decode_responses=True)
    app['sessions'] = Sessions(app['redis'])
    app['http'] = aiohttp.ClientSession(timeout=timeout)
    app['keys'] = jwt.PyJWKClient(app['settings'].issuer + '/jwks', timeout=10)
    yield
    await app['http'].close()
    await app['redis'].close()


def make_app():
    app = web.Application(middlewares=[errors, cors, same_origin_posts], client_max_size=64 * 1024)
    app['settings'] = Settings(os.environ)
    app.add_routes(routes)
    app.cleanup_ctx.append(start)
    return app


if __name__ == '__main__':
    logging.basicConfig(level=logging.INFO)
    web.run_app(make_app(), host='127.0.0.1', port=8075)
