import csv
import io
import logging
import random
import re
import time
from decimal import Decimal, InvalidOperation
from functools import wraps
from urllib.parse import urlparse

import requests
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, login, update_session_auth_hash
from django.contrib.auth.decorators import login_required, permission_required
from django.core import signing
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html
from django.utils.safestring import mark_safe
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_POST

from billing.models import Attachment, Customer, Invoice, Membership

logger = logging.getLogger('billing.views')

SORTABLE = {
    'date': 'issued_on',
    'total': 'total_cents',
    'customer': 'customer_name',
}
ATTACHMENT_TYPES = ('application/pdf', 'image/png')
MAX_ATTACHMENT = 5 * 1024 * 1024
SHARE_MAX_AGE = 7 * 24 * 3600
REF_RE = re.compile(r'[A-Z]{2}-\d{4}-\d{1,6}')


def company_member(*roles):
    """Resolve <slug> to a company the user belongs to and pass it on as request.company."""
    def outer(view):
        @login_required
        @wraps(view)
        def inner(request, slug, *args, **kwargs):
            membership = (
                Membership.objects.select_related('company')
                .filter(company__slug=slug, user=request.user, active=True)
                .first()
            )
            if membership is None:
                raise Http404('no such company')
            if roles and membership.role not in roles:
                raise PermissionDenied
            request.company = membership.company
            request.role = membership.role
            return view(request, *args, **kwargs)
        return inner
    return outer


def client_key(request):
    return 'billing-login:%s' % request.META.get('REMOTE_ADDR', '-')


@csrf_protect
def sign_in(request):
    target = request.POST.get('next') or request.GET.get('next') or ''
    if not url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        target = settings.LOGIN_REDIRECT_URL

    if request.method != 'POST':
        return render(request, 'billing/sign_in.html', {'next': target})

    key = client_key(request)
    cache.add(key, 0, timeout=900)
    if cache.incr(key) > 20:
        logger.warning('too many sign-ins from %s', request.META.get('REMOTE_ADDR'))
        return render(request, 'billing/sign_in.html', {'next': target, 'wait': True}, status=429)

    user = authenticate(request, username=request.POST.get('username'), password=request.POST.get('password'))
    if user is None:
        time.sleep(random.uniform(0.1, 0.4))
        return render(request, 'billing/sign_in.html', {'next': target, 'failed': True}, status=401)

    login(request, user)
    cache.delete(key)
    return HttpResponseRedirect(target)


@login_required
@require_POST
def change_password(request):
    old, new = request.POST.get('old', ''), request.POST.get('new', '')
    if not request.user.check_password(old):
        messages.error(request, 'The current password does not match.')
        return redirect('billing:account')
    if len(new) < 12:
        messages.error(request, 'Use twelve characters or more.')
        return redirect('billing:account')
    request.user.set_password(new)
    request.user.save(update_fields=['password'])
    update_session_auth_hash(request, request.user)
    logger.info('user %s changed the password', request.user.pk)
    messages.success(request, mark_safe('Password changed. <a href="/billing/">To the invoices</a>'))
    return redirect('billing:account')


@require_GET
@company_member()
def invoice_list(request):
    column = SORTABLE.get(request.GET.get('sort', 'date'), 'issued_on')
    direction = 'DESC' if request.GET.get('dir') == 'desc' else 'ASC'
    try:
        limit = int(request.GET.get('limit', 50))
    except ValueError:
        return JsonResponse({'error': 'limit must be a number'}, status=400)
    if not 1 <= limit <= 200:
        return JsonResponse({'error': 'limit out of range'}, status=400)

    with connection.cursor() as cur:
        cur.execute(
            f'SELECT ref, issued_on, customer_name, total_cents FROM billing_invoice_view '
            f'WHERE company_id = %s ORDER BY {column} {direction} LIMIT %s',
            [request.company.pk, limit],
        )
        rows = cur.fetchall()
    return JsonResponse({'invoices': [
        {'ref': r[0], 'date': r[1].isoformat(), 'customer': r[2], 'total': r[3]} for r in rows
    ]})


@require_GET
@company_member()
def invoice_detail(request, ref):
    invoice = get_object_or_404(Invoice.objects.select_related('customer'), company=request.company, ref=ref)
    lines = invoice.lines.order_by('position')
    return render(request, 'billing/invoice.html', {
        'invoice': invoice,
        'lines': lines,
        'badge': format_html('<span class="badge" title="{}">{}</span>', invoice.note, invoice.get_state_display()),
    })


@require_POST
@company_member('owner', 'accountant')
def record_payment(request, ref):
    try:
        amount = Decimal(request.POST.get('amount', ''))
    except InvalidOperation:
        return JsonResponse({'error': 'amount is not a number'}, status=400)
    if not amount.is_finite() or amount <= 0 or amount.as_tuple().exponent < -2:
        return JsonResponse({'error': 'amount out of range'}, status=400)

    with transaction.atomic():
        invoice = get_object_or_404(Invoice.objects.select_for_update(), company=request.company, ref=ref)
        if amount > invoice.open_amount:
            return JsonResponse({'error': 'more than what is open'}, status=409)
        invoice.payments.create(amount=amount, entered_by=request.user)
        invoice.open_amount -= amount
        invoice.save(update_fields=['open_amount'])
    return JsonResponse({'open': str(invoice.open_amount)})


@require_POST
@company_member('owner', 'accountant', 'clerk')
def attach(request, ref):
    invoice = get_object_or_404(Invoice, company=request.company, ref=ref)
    upload = request.FILES.get('file')
    if upload is None:
        return JsonResponse({'error': 'no file'}, status=400)
    if upload.size > MAX_ATTACHMENT:
        return JsonResponse({'error': 'file too large'}, status=413)
    head = upload.read(8)
    upload.seek(0)
    if head.startswith(b'%PDF-'):
        kind, suffix = 'application/pdf', 'pdf'
    elif head == b'\x89PNG\r\n\x1a\n':
        kind, suffix = 'image/png', 'png'
    else:
        return JsonResponse({'error': 'only PDF and PNG'}, status=415)
    attachment = Attachment(invoice=invoice, kind=kind, uploaded_by=request.user)
    attachment.file.save('%s-%d.%s' % (invoice.pk, int(time.time()), suffix), upload)
    return JsonResponse({'id': attachment.pk}, status=201)


@require_POST
@login_required
@permission_required('billing.delete_customer', raise_exception=True)
def purge_customer(request, pk):
    customer = get_object_or_404(Customer, pk=pk, company__membership__user=request.user,
                                 company__membership__active=True)
    if customer.invoices.exclude(state=Invoice.PAID).exists():
        messages.error(request, 'There are open invoices.')
        return redirect('billing:customer', pk=customer.pk)
    logger.info('user %s purges customer %s', request.user.pk, customer.pk)
    customer.delete()
    return redirect('billing:customers')


@require_GET
def shared_invoice(request, token):
    """Page behind the link that is mailed to customers."""
    try:
        data = signing.loads(token, salt='billing.share', max_age=SHARE_MAX_AGE)
    except signing.SignatureExpired:
        return render(request, 'billing/share_expired.html', status=410)
    except signing.BadSignature:
        raise Http404('no such link')
    invoice = get_object_or_404(Invoice, pk=data['invoice'])
    return render(request, 'billing/shared.html', {'invoice': invoice})


@csrf_exempt
@require_POST
def bank_callback(request):
    token = request.headers.get('X-Bank-Token', '')
    try:
        payload = signing.loads(token, key=settings.BANK_CALLBACK_KEY, salt='bank', max_age=300)
    except signing.BadSignature:
        return HttpResponse(status=403)
    ref = str(payload.get('ref', ''))
    if not REF_RE.fullmatch(ref):
        logger.warning('bank callback with an odd reference')
        return HttpResponse(status=400)
    updated = Invoice.objects.filter(ref=ref, company_id=payload['company']).update(state=Invoice.PAID)
    logger.info('bank callback for %s: %d', ref, updated)
    return HttpResponse(status=204 if updated else 404)


@require_POST
@company_member('owner')
def import_customers(request):
    """Fetch a CSV list from one of the registered export hosts."""
    url = request.POST.get('url', '')
    parts = urlparse(url)
    if parts.scheme != 'https' or parts.hostname not in settings.EXPORT_HOSTS:
        return JsonResponse({'error': 'host is not registered'}, status=400)
    try:
        answer = requests.get(url, timeout=10, allow_redirects=False)
        answer.raise_for_status()
    except requests.RequestException:
        logger.exception('import for company %s failed', request.company.pk)
        return JsonResponse({'error': 'the list could not be fetched'}, status=502)

    created = 0
    for row in csv.DictReader(io.StringIO(answer.text)):
        if not row.get('name') or not row.get('email'):
            continue
        _, new = Customer.objects.get_or_create(
            company=request.company, email=row['email'].strip().lower(), defaults={'name': row['name'][:120]})
        created += new
    return JsonResponse({'created': created})
