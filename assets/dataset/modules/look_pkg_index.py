import base64
import binascii
import hashlib
import logging
import os
import posixpath
import random
import re
import secrets
import subprocess
import tempfile
import zipfile
from email.parser import HeaderParser
from urllib.parse import urljoin, urlsplit

import bleach
import docutils.core
import requests
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.db import connection, transaction
from django.http import (Http404, HttpResponse, HttpResponseForbidden,
                         HttpResponseRedirect, JsonResponse)
from django.shortcuts import get_object_or_404, render
from django.utils.crypto import constant_time_compare
from django.utils.html import escape, format_html, format_html_join
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_POST

from shelf.models import File, Project, Release, Role, Token, User

log = logging.getLogger('shelf')

FILE_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._+-]{2,120}\.(whl|tar\.gz)')
FILE_LIMIT = 60 * 1024 * 1024
METADATA_LIMIT = 512 * 1024
ORDERS = {'name': 'p.name', 'new': 'r.created DESC', 'hits': 'p.hits DESC'}
RST_TAGS = ['p', 'ul', 'ol', 'li', 'h1', 'h2', 'h3', 'pre', 'code', 'em', 'strong', 'a', 'section']
RST_ATTRS = {'a': ['href', 'title']}
RST_OPTIONS = {
    'file_insertion_enabled': False,
    'raw_enabled': False,
    'halt_level': 5,
    'report_level': 5,
    'input_encoding': 'unicode',
}


def canonical(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def page_etag(project, serial):
    return hashlib.md5(('%s/%d' % (project.pk, serial)).encode(),
                       usedforsecurity=False).hexdigest()


def token_user(request):
    """User of the upload token in the basic auth header, or None."""
    header = request.META.get('HTTP_AUTHORIZATION', '')
    if not header.lower().startswith('basic '):
        return None
    try:
        pair = base64.b64decode(header[6:]).decode('utf-8')
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, _, secret = pair.partition(':')
    if name != '__token__' or '.' not in secret:
        return None
    ident, _, rest = secret.partition('.')
    token = Token.objects.filter(ident=ident, revoked=False).first()
    if token is None:
        return None
    digest = hashlib.sha256(rest.encode('utf-8')).hexdigest()
    if not constant_time_compare(digest, token.digest):
        log.info('token %s: secret differs', token.pk)
        return None
    return token.user


@login_required
@require_POST
def new_token(request):
    label = request.POST.get('label', '').strip()[:60] or 'unnamed'
    if Token.objects.filter(user=request.user, revoked=False).count() >= 20:
        return JsonResponse({'error': 'too many tokens'}, status=409)
    ident = '%08x' % random.getrandbits(32)
    while Token.objects.filter(ident=ident).exists():
        ident = '%08x' % random.getrandbits(32)
    rest = secrets.token_urlsafe(32)
    token = Token.objects.create(
        user=request.user, ident=ident, label=label,
        digest=hashlib.sha256(rest.encode('utf-8')).hexdigest())
    log.info('user %d made token %d', request.user.pk, token.pk)
    return JsonResponse({'id': token.pk, 'token': ident + '.' + rest})


@require_POST
def upload(request):
    """Take one distribution file from the upload tool."""
    user = token_user(request)
    if user is None:
        return HttpResponse('token needed', status=401)
    name = canonical(request.POST.get('name', ''))
    version = request.POST.get('version', '')
    sent = request.FILES.get('content')
    if not name or not version or sent is None:
        return HttpResponse('incomplete form', status=400)
    if sent.size > FILE_LIMIT:
        return HttpResponse('file too large', status=413)
    project, created = Project.objects.get_or_create(name=name)
    if created:
        Role.objects.create(project=project, user=user, kind='owner')
    if not Role.objects.filter(project=project, user=user).exists():
        return HttpResponseForbidden('not a maintainer of %s' % project.pk)
    filename = request.POST.get('filename', '')
    if not FILE_NAME.fullmatch(filename):
        return HttpResponse('file name not usable', status=400)
    folder = os.path.join(settings.SHELF_FILES, str(project.pk))
    os.makedirs(folder, exist_ok=True)
    target = os.path.join(folder, filename)
    digest = hashlib.sha256()
    try:
        with open(target, 'xb') as out:
            for chunk in sent.chunks():
                digest.update(chunk)
                out.write(chunk)
    except FileExistsError:
        return HttpResponse('file exists', status=409)
    wanted = request.POST.get('sha256_digest', '').lower()
    if digest.hexdigest() != wanted:
        os.unlink(target)
        return HttpResponse('digest differs', status=400)
    release, _ = Release.objects.get_or_create(project=project, version=version)
    File.objects.create(release=release, filename=filename, sha256=wanted,
                        size=sent.size, uploader=user)
    log.info('file %s of %d taken from user %d', filename, project.pk, user.pk)
    return HttpResponse('ok')


def simple_page(request, name):
    """The list of files which installers read."""
    project = get_object_or_404(Project, name=canonical(name))
    etag = page_etag(project, project.serial)
    if request.META.get('HTTP_IF_NONE_MATCH') == '"%s"' % etag:
        return HttpResponse(status=304)
    links = []
    for file in File.objects.filter(release__project=project).order_by('filename'):
        url = urljoin(settings.SHELF_FILE_URL, file.path)
        requires = ''
        if file.requires_python:
            requires = mark_safe(' data-requires-python="%s"' % escape(file.requires_python))
        links.append((url, file.sha256, requires, file.filename))
    body = format_html('<!DOCTYPE html><title>{}</title>\n{}\n', project.name, format_html_join(
        '\n', '<a href="{}#sha256={}"{}>{}</a><br>', links))
    response = HttpResponse(body)
    response['ETag'] = '"%s"' % etag
    return response


def search(request):
    words = request.GET.get('q', '').split()[:5]
    order = ORDERS.get(request.GET.get('o', 'name'), 'p.name')
    sql = ('SELECT p.name, p.summary, max(r.version) FROM shelf_project p '
           'JOIN shelf_release r ON r.project_id = p.id WHERE p.hidden = false')
    params = []
    for word in words:
        sql += ' AND (p.name LIKE %s OR p.summary LIKE %s)'
        params += ['%' + word + '%'] * 2
    classifier = request.GET.get('c')
    if classifier:
        sql += ' AND p.classifiers @> ARRAY[%s]::varchar[]'
        params.append(classifier)
    sql += ' GROUP BY p.id, r.created ORDER BY ' + order + ' LIMIT 60'
    with connection.cursor() as cur:
        cur.execute(sql, params)
        rows = cur.fetchall()
    if len(rows) == 1 and request.GET.get('lucky'):
        return HttpResponseRedirect('/project/%s/' % rows[0][0])
    return render(request, 'shelf/search.html', {'rows': rows, 'q': ' '.join(words)})


def description_html(release):
    key = 'desc:%d' % release.pk
    html = cache.get(key)
    if html is not None:
        return mark_safe(html)
    if release.description_type == 'text/x-rst':
        parts = docutils.core.publish_parts(
            release.description, writer_name='html5',
            settings_overrides=RST_OPTIONS)
        html = bleach.clean(parts['fragment'], tags=RST_TAGS, attributes=RST_ATTRS)
    else:
        html = '<pre>%s</pre>' % escape(release.description)
    cache.set(key, html, 3600 + random.randrange(600))
    return mark_safe(html)


@login_required
@require_POST
def set_role(request, name):
    """Add a maintainer, change the kind of one, or take one off."""
    project = get_object_or_404(Project, name=canonical(name))
    if not Role.objects.filter(project=project, user=request.user, kind='owner').exists():
        return HttpResponseForbidden()
    other = get_object_or_404(User, username=request.POST.get('user', ''))
    kind = request.POST.get('kind', '')
    if kind not in ('owner', 'maintainer', ''):
        return HttpResponse('unknown kind', status=400)
    with transaction.atomic():
        Role.objects.filter(project=project, user=other).delete()
        if kind:
            Role.objects.create(project=project, user=other, kind=kind)
        if not Role.objects.filter(project=project, kind='owner').exists():
            transaction.set_rollback(True)
            return HttpResponse('a project needs an owner', status=409)
    log.info('role of user %d in %d set by %d', other.pk, project.pk, request.user.pk)
    there = request.POST.get('next', '')
    if not url_has_allowed_host_and_scheme(there, {request.get_host()}, require_https=True):
        there = '/project/%s/roles/' % project.name
    return HttpResponseRedirect(there)


def wheel_metadata(path):
    """Headers of the METADATA file inside a wheel."""
    with zipfile.ZipFile(path) as wheel:
        for info in wheel.infolist():
            folder, base = posixpath.split(info.filename)
            if base != 'METADATA' or not folder.endswith('.dist-info'):
                continue
            if info.file_size > METADATA_LIMIT:
                raise ValueError('metadata of %d bytes' % info.file_size)
            text = wheel.read(info).decode('utf-8', 'replace')
            headers = HeaderParser().parsestr(text)
            return {k.lower(): v for k, v in headers.items()}
    raise ValueError('wheel without metadata')


def mirror_file(name, entry):
    """Fetch a file from the upstream index unless we have it; give its path."""
    url = urljoin(settings.SHELF_UPSTREAM, entry['path'])
    if urlsplit(url)[:2] != urlsplit(settings.SHELF_UPSTREAM)[:2]:
        raise ValueError('file is not on the upstream host')
    base = os.path.basename(entry['path'])
    if not FILE_NAME.fullmatch(base):
        raise ValueError('file name not usable')
    target = os.path.join(settings.SHELF_MIRROR, base)
    if os.path.exists(target):
        return target
    digest = hashlib.sha256()
    reply = requests.get(url, stream=True, timeout=30, allow_redirects=False)
    reply.raise_for_status()
    fd, part = tempfile.mkstemp(dir=settings.SHELF_MIRROR, suffix='.part')
    with os.fdopen(fd, 'wb') as out:
        for chunk in reply.iter_content(65536):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != entry['sha256']:
        os.unlink(part)
        raise ValueError('digest of %s differs' % base)
    os.replace(part, target)
    log.info('mirrored %s for %s', base, canonical(name))
    return target


@login_required
def readme_diff(request, name, old, new):
    """What changed in the long description between two releases."""
    project = get_object_or_404(Project, name=canonical(name))
    files = []
    for version in (old, new):
        release = get_object_or_404(Release, project=project, version=version)
        handle = tempfile.NamedTemporaryFile('w', suffix='.txt', encoding='utf-8')
        handle.write(release.description)
        handle.flush()
        files.append(handle)
    label = ['--label', old, '--label', new]
    done = subprocess.run(['diff', '-u'] + label + ['--', files[0].name, files[1].name],
                          stdout=subprocess.PIPE, timeout=20)
    for handle in files:
        handle.close()
    if done.returncode > 1:
        raise Http404
    return HttpResponse(done.stdout, content_type='text/plain; charset=utf-8')
