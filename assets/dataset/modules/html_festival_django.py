import json
import logging
import re
from urllib.parse import urlencode
from xml.sax.saxutils import XMLGenerator

from django import forms, template
from django.conf import settings
from django.contrib.auth.decorators import login_required, permission_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.mail import EmailMultiAlternatives
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import conditional_escape, escape, format_html, format_html_join, json_script
from django.utils.http import content_disposition_header, url_has_allowed_host_and_scheme
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_GET, require_POST

from .models import Booking, Event, Stage

register = template.Library()
logger = logging.getLogger('festival')

GENRES = (('folk', 'Folk'), ('jazz', 'Jazz'), ('noise', 'Noise'), ('other', 'Everything else'))
HASHTAG = re.compile(r'(?<![&\w])#(\w{2,30})')
HEX_COLOUR = re.compile(r'#[0-9a-fA-F]{6}')


# -- template library ---------------------------------------------------------

@register.filter(is_safe=True, needs_autoescape=True)
def hashtags(text, autoescape=True):
    """Link every #word to the programme search."""
    esc = conditional_escape if autoescape else escape
    base = reverse('festival:search')

    def link(match):
        query = urlencode({'tag': match.group(1)})
        return '<a href="%s?%s">#%s</a>' % (base, query, match.group(1))

    return mark_safe(HASHTAG.sub(link, esc(text)))


@register.simple_tag
def stage_badge(stage, size='small'):
    colour = stage.colour if HEX_COLOUR.fullmatch(stage.colour or '') else '#888888'
    if size not in ('small', 'large'):
        raise template.TemplateSyntaxError('stage_badge: unknown size %r' % size)
    return format_html(
        '<span class="badge badge-{}" style="background:{}" title="{}">{}</span>',
        size, colour, stage.description, stage.name,
    )


@register.simple_tag(takes_context=True)
def breadcrumbs(context, *steps):
    trail = [(reverse('festival:index'), 'Programme')]
    event = context.get('event')
    if event is not None:
        trail.append((event.get_absolute_url(), event.title))
    trail.extend(('', step) for step in steps)
    items = format_html_join('', '<li><a href="{}">{}</a></li>', trail)
    return format_html('<ol class="crumbs">{}</ol>', items)


@register.simple_tag
def event_data(event):
    data = {
        'id': event.pk,
        'title': event.title,
        'blurb': event.blurb,
        'starts': event.starts.isoformat(),
    }
    return json_script(data, 'event-%d' % event.pk)


@register.filter
def price(cents):
    if cents in (None, ''):
        return mark_safe('<i>free</i>')
    return '%d.%02d' % divmod(int(cents), 100)


# -- widgets and forms --------------------------------------------------------

class CounterInput(forms.TextInput):
    """A text field with the number of characters left beside it."""

    def __init__(self, limit, attrs=None):
        super().__init__(attrs)
        self.limit = limit

    def render(self, name, value, attrs=None, renderer=None):
        field = super().render(name, value, attrs, renderer)
        used = len(value or '')
        preview = (value or '')[:20]
        return format_html(
            '{}<output data-limit="{}" title="{}">{}</output>',
            field, self.limit, preview, self.limit - used,
        )


class BookingForm(forms.ModelForm):
    class Meta:
        model = Booking
        fields = ('band', 'genre', 'rider')
        widgets = {'band': CounterInput(limit=60)}

    genre = forms.ChoiceField(choices=GENRES)

    def clean_band(self):
        band = self.cleaned_data['band'].strip()
        if len(band) > 60:
            raise ValidationError('That name does not fit on the poster.')
        if any(ord(ch) < 32 for ch in band):
            raise ValidationError('Please keep the name on one line.')
        return band


# -- views --------------------------------------------------------------------

@require_GET
def search(request):
    tag = request.GET.get('tag', '').lstrip('#').strip()
    events = Event.objects.none()
    if tag:
        events = Event.objects.filter(published=True, blurb__icontains='#' + tag)[:50]
    if not events:
        return HttpResponse(
            format_html('<p class="empty">Nothing is tagged <b>{}</b> this year.</p>', tag),
            status=404,
        )
    return render(request, 'festival/search.html', {'events': events, 'tag': tag})


@login_required
@require_POST
def book(request):
    form = BookingForm(request.POST)
    if not form.is_valid():
        return JsonResponse({'errors': form.errors}, status=400)
    booking = form.save(commit=False)
    booking.owner = request.user
    booking.save()
    logger.info('booking %s by user %s', booking.pk, request.user.pk)
    target = request.POST.get('next', '')
    if not url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        target = reverse('festival:booking', args=[booking.pk])
    return HttpResponseRedirect(target)


@login_required
@require_GET
def rider(request, pk):
    """The technical rider as the band typed it."""
    booking = get_object_or_404(Booking, pk=pk)
    if booking.owner_id != request.user.pk and not request.user.is_staff:
        raise PermissionDenied
    response = HttpResponse(booking.rider, content_type='text/plain; charset=utf-8')
    response['X-Content-Type-Options'] = 'nosniff'
    response['Content-Disposition'] = content_disposition_header(True, '%s rider.txt' % booking.band)
    return response


@permission_required('festival.change_booking', raise_exception=True)
@require_POST
def confirm(request, pk):
    booking = get_object_or_404(Booking.objects.select_related('owner'), pk=pk)
    note = request.POST.get('note', '').strip()
    subject = 'You are in: %s' % ' '.join(booking.band.split())
    text = render_to_string('festival/confirm.txt', {'booking': booking, 'note': note})
    body = format_html(
        '<h1>See you in July, {}!</h1><p>{}</p><p><a href="{}">Your booking</a></p>',
        booking.band,
        note,
        settings.SITE_URL + reverse('festival:booking', args=[booking.pk]),
    )
    message = EmailMultiAlternatives(subject, text, settings.BOOKING_FROM, [booking.owner.email])
    message.attach_alternative(body, 'text/html')
    message.send()
    booking.confirmed = True
    booking.save(update_fields=['confirmed'])
    return HttpResponseRedirect(reverse('festival:booking', args=[booking.pk]))


@require_GET
def stage_feed(request, slug):
    stage = get_object_or_404(Stage, slug=slug, hidden=False)
    response = HttpResponse(content_type='application/atom+xml; charset=utf-8')
    out = XMLGenerator(response, 'utf-8')
    out.startDocument()
    out.startElement('feed', {'xmlns': 'http://www.w3.org/2005/Atom'})
    out.startElement('title', {})
    out.characters(stage.name)
    out.endElement('title')
    for event in stage.event_set.filter(published=True).order_by('starts')[:100]:
        out.startElement('entry', {})
        out.startElement('link', {'href': request.build_absolute_uri(event.get_absolute_url())})
        out.endElement('link')
        for tag, text in (('title', event.title), ('summary', event.blurb), ('updated', event.starts.isoformat())):
            out.startElement(tag, {})
            out.characters(text)
            out.endElement(tag)
        out.endElement('entry')
    out.endElement('feed')
    return response


@require_GET
def stages_json(request):
    stages = Stage.objects.filter(hidden=False).values('slug', 'name', 'capacity')
    body = json.dumps({'stages': list(stages)}, indent=1, sort_keys=True)
    return HttpResponse(body, content_type='application/json')


@require_GET
def lineup_fragment(request, year):
    if not 1998 <= year <= 2100:
        raise Http404
    heading = request.GET.get('heading', 'Line-up %d' % year)
    rows = format_html_join(
        '\n',
        '<tr><td>{}</td><td>{}</td><td>{}</td></tr>',
        (
            (event.starts.strftime('%a %H:%M'), event.title, event.stage.name)
            for event in Event.objects.filter(starts__year=year, published=True).select_related('stage')
        ),
    )
    page = '<h2>%s</h2><table>%s</table>' % (escape(heading), rows)
    return HttpResponse(page)
