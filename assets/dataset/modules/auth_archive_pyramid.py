"""Views of the picture archive (Pyramid).  Every newspaper of the group is one `house`."""
import io
import logging
import mimetypes
import os
import secrets
import uuid
import zipfile
from datetime import datetime, timedelta
from urllib.parse import urlparse

import requests
from passlib.context import CryptContext
from pyramid.authorization import Allow, Authenticated, Deny, Everyone
from pyramid.config import Configurator
from pyramid.csrf import new_csrf_token
from pyramid.httpexceptions import (HTTPBadRequest, HTTPForbidden, HTTPFound, HTTPNotFound, HTTPRequestEntityTooLarge,
                                    HTTPTooManyRequests)
from pyramid.response import FileResponse, Response
from pyramid.security import forget, remember
from pyramid.session import JSONSerializer, SignedCookieSessionFactory
from pyramid.view import exception_view_config, view_config
from sqlalchemy import desc, func, text

from .models import ApiKey, Collection, LoginAttempt, Order, Photo, User

logger = logging.getLogger(__name__)
passwords = CryptContext(schemes=['argon2', 'bcrypt'], deprecated='auto')

EDITABLE = {'caption', 'photographer', 'keywords', 'taken_on'}
EXTENSIONS = {'.jpg', '.jpeg', '.tif', '.tiff', '.png'}
ORDERINGS = {'newest': desc(Photo.taken_on), 'oldest': Photo.taken_on, 'caption': func.lower(Photo.caption)}
MAX_UPLOAD = 80 * 2 ** 20
MAX_UNPACKED = 400 * 2 ** 20
WIRE_HOSTS = frozenset(['images.wire-one.example', 'cdn.pressepool.example'])


class Root:
    __acl__ = [
        (Allow, Authenticated, 'view'),
        (Allow, 'role:editor', ('view', 'edit', 'order')),
        (Allow, 'role:admin', ('view', 'edit', 'order', 'admin')),
        (Deny, Everyone, ('edit', 'order', 'admin')),
    ]

    def __init__(self, request):
        self.request = request


class PhotoContext(Root):
    """Context of /photos/{id}: the photo, as far as the house of the user owns it."""

    def __init__(self, request):
        super().__init__(request)
        user = request.user
        if user is None:
            raise HTTPForbidden()
        try:
            photo_id = uuid.UUID(request.matchdict['id'])
        except ValueError:
            raise HTTPNotFound()
        self.photo = (request.dbsession.query(Photo)
                      .filter(Photo.id == photo_id, Photo.house_id == user.house_id)
                      .one_or_none())
        if self.photo is None:
            raise HTTPNotFound()


def groupfinder(userid, request):
    user = request.user
    if user is None or user.disabled:
        return None
    return ['role:%s' % user.role, 'house:%d' % user.house_id]


def own_path(request, candidate):
    """The address of a page of this application, or the front page."""
    home = request.route_url('home')
    if not candidate:
        return home
    if candidate.startswith(request.application_url + '/'):
        return candidate
    logger.info('login wanted to go elsewhere')
    return home


@view_config(route_name='login', renderer='templates/login.jinja2', require_csrf=True)
def login(request):
    came_from = own_path(request, request.params.get('came_from'))
    if request.method != 'POST':
        return {'came_from': came_from, 'failed': False}

    since = datetime.utcnow() - timedelta(minutes=15)
    recent = (request.dbsession.query(LoginAttempt)
              .filter(LoginAttempt.address == request.remote_addr, LoginAttempt.at > since)
              .count())
    if recent >= 12:
        raise HTTPTooManyRequests()

    name = request.POST.get('name', '')
    user = request.dbsession.query(User).filter(User.name == name, User.disabled.is_(False)).one_or_none()
    if user is None:
        passwords.dummy_verify()
    if user is None or not passwords.verify(request.POST.get('password', ''), user.password):
        request.dbsession.add(LoginAttempt(address=request.remote_addr, at=datetime.utcnow()))
        logger.info('login failed, address %s', request.remote_addr)
        return {'came_from': came_from, 'failed': True}

    request.session.invalidate()
    new_csrf_token(request)
    headers = remember(request, str(user.id))
    return HTTPFound(location=came_from, headers=headers)


@view_config(route_name='logout', request_method='POST', require_csrf=True)
def logout(request):
    request.session.invalidate()
    return HTTPFound(location=request.route_url('home'), headers=forget(request))


@view_config(route_name='photos', request_method='GET', renderer='json', permission='view')
def search(request):
    order = ORDERINGS.get(request.GET.get('order'), ORDERINGS['newest'])
    try:
        size = int(request.GET.get('size', 40))
        page = int(request.GET.get('page', 1))
    except ValueError:
        raise HTTPBadRequest('size and page are numbers')
    size = min(max(size, 1), 200)
    query = request.dbsession.query(Photo).filter(Photo.house_id == request.user.house_id)
    words = request.GET.get('q', '').strip()
    if words:
        query = query.filter(text('search_vector @@ plainto_tsquery(:words)').bindparams(words=words))
    photos = query.order_by(order).limit(size).offset(max(page - 1, 0) * size).all()
    return {'photos': [{'id': str(p.id), 'caption': p.caption, 'by': p.photographer} for p in photos]}


@view_config(route_name='photo', request_method='POST', renderer='json', permission='edit', require_csrf=True)
def edit(context, request):
    photo = context.photo
    changed = []
    for field, value in request.POST.items():
        if field == 'csrf_token':
            continue
        if field not in EDITABLE:
            raise HTTPBadRequest('unknown field')
        setattr(photo, field, value.strip())
        changed.append(field)
    if changed:
        photo.edited_by = request.user.id
        photo.edited_at = datetime.utcnow()
    return {'changed': changed}


@view_config(route_name='photo_file', request_method='GET', permission='view')
def download(context, request):
    photo = context.photo
    folder = request.registry.settings['archive.folder']
    path = os.path.join(folder, photo.id.hex[:2], photo.id.hex + photo.extension)
    if not os.path.isfile(path):
        logger.error('file of photo %s is missing', photo.id)
        raise HTTPNotFound()
    response = FileResponse(path, request=request, content_type=mimetypes.guess_type(path)[0])
    response.headers['Content-Disposition'] = 'attachment; filename="%s%s"' % (photo.id.hex, photo.extension)
    return response


def store(request, stream, extension, caption):
    """Write one picture into the archive and return its row."""
    photo = Photo(id=uuid.uuid4(), house_id=request.user.house_id, extension=extension, caption=caption)
    folder = os.path.join(request.registry.settings['archive.folder'], photo.id.hex[:2])
    os.makedirs(folder, exist_ok=True)
    written = 0
    with open(os.path.join(folder, photo.id.hex + extension), 'xb') as out:
        for block in iter(lambda: stream.read(65536), b''):
            written += len(block)
            if written > MAX_UPLOAD:
                raise HTTPRequestEntityTooLarge()
            out.write(block)
    request.dbsession.add(photo)
    return photo


@view_config(route_name='upload', request_method='POST', renderer='json', permission='edit', require_csrf=True)
def upload(request):
    field = request.POST.get('file')
    if not hasattr(field, 'file'):
        raise HTTPBadRequest('no file')
    extension = os.path.splitext(field.filename)[1].lower()
    if extension not in EXTENSIONS:
        raise HTTPBadRequest('only pictures')
    photo = store(request, field.file, extension, request.POST.get('caption', '')[:500])
    logger.info('photo %s uploaded by user %d', photo.id, request.user.id)
    return {'id': str(photo.id)}


@view_config(route_name='upload_zip', request_method='POST', renderer='json', permission='edit', require_csrf=True)
def upload_zip(request):
    field = request.POST.get('file')
    if not hasattr(field, 'file'):
        raise HTTPBadRequest('no file')
    stored, skipped = [], 0
    try:
        with zipfile.ZipFile(field.file) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_UNPACKED:
                raise HTTPRequestEntityTooLarge()
            for info in archive.infolist():
                extension = os.path.splitext(info.filename)[1].lower()
                if info.is_dir() or extension not in EXTENSIONS:
                    skipped += 1
                    continue
                with archive.open(info) as member:
                    stored.append(store(request, member, extension, os.path.basename(info.filename)))
    except zipfile.BadZipFile:
        raise HTTPBadRequest('not a ZIP file')
    return {'ids': [str(photo.id) for photo in stored], 'skipped': skipped}


@view_config(route_name='fetch_wire', request_method='POST', renderer='json', permission='order', require_csrf=True)
def fetch_wire(request):
    """Take over a picture from one of the wire services."""
    url = request.POST.get('url', '')
    parts = urlparse(url)
    if parts.scheme != 'https' or parts.hostname not in WIRE_HOSTS:
        raise HTTPBadRequest('not a wire service')
    reply = requests.get(url, timeout=20, allow_redirects=False)
    if reply.status_code != 200 or reply.headers.get('Content-Type') != 'image/jpeg':
        raise HTTPBadRequest('no picture there')
    photo = store(request, io.BytesIO(reply.content), '.jpg', 'wire: ' + parts.hostname)
    request.dbsession.add(Order(photo_id=photo.id, user_id=request.user.id, source=parts.hostname))
    return {'id': str(photo.id)}


@view_config(route_name='order', request_method='GET', renderer='templates/order.jinja2', permission='view')
def show_order(request):
    order = (request.dbsession.query(Order)
             .filter(Order.id == int(request.matchdict['id']), Order.user_id == request.user.id)
             .first())
    if order is None:
        raise HTTPNotFound()
    return {'order': order, 'price': order.price_cents / 100}


@view_config(route_name='collection', request_method='DELETE', renderer='json', permission='edit', require_csrf=True)
def drop_collection(request):
    collection = request.dbsession.get(Collection, int(request.matchdict['id']))
    if collection is None or collection.house_id != request.user.house_id:
        raise HTTPNotFound()
    if collection.locked and not request.has_permission('admin'):
        raise HTTPForbidden()
    request.dbsession.delete(collection)
    return {'deleted': collection.id}


@view_config(route_name='api_keys', request_method='POST', renderer='json', permission='admin', require_csrf=True)
def make_api_key(request):
    label = request.POST.get('label', '').strip()
    if not 3 <= len(label) <= 60:
        raise HTTPBadRequest('label of 3 to 60 characters')
    key = secrets.token_urlsafe(30)
    row = ApiKey(house_id=request.user.house_id, label=label, digest=passwords.hash(key))
    request.dbsession.add(row)
    request.dbsession.flush()
    logger.info('api key %d made by user %d', row.id, request.user.id)
    return {'id': row.id, 'key': key}


@exception_view_config(Exception)
def failed(exc, request):
    number = secrets.token_hex(4)
    logger.error('failure %s', number, exc_info=exc)
    return Response('Something went wrong, number %s.' % number, status=500, content_type='text/plain')


def main(global_config, **settings):
    factory = SignedCookieSessionFactory(
        settings['session.secret'], cookie_name='archive', timeout=3600, secure=True, httponly=True,
        samesite='Lax', serializer=JSONSerializer())
    with Configurator(settings=settings, session_factory=factory, root_factory=Root) as config:
        config.include('pyramid_jinja2')
        config.include('.security')
        config.set_default_csrf_options(require_csrf=True)
        config.add_route('home', '/')
        config.add_route('photo', '/photos/{id}', factory=PhotoContext)
        config.add_route('photo_file', '/photos/{id}/file', factory=PhotoContext)
        for name in ('login', 'logout', 'photos', 'upload', 'upload_zip', 'fetch_wire', 'api_keys'):
            config.add_route(name, '/' + name)
        config.add_route('order', r'/orders/{id:\d+}')
        config.add_route('collection', r'/collections/{id:\d+}')
        config.scan(ignore='.tests')
        return config.make_wsgi_app()
