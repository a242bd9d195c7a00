from __future__ import annotations

import logging
from datetime import date, timedelta
from typing import Any, Iterable

from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required, permission_required
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models import Count, F, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_GET, require_POST

from .models import Queue, Ticket, TicketEvent

logger = logging.getLogger("helpdesk.admin")

REPORT_COLUMNS = {
    "age": "age_days",
    "queue": "queue_name",
    "agent": "agent_name",
    "status": "status",
}
FILTERABLE = frozenset({"status", "priority", "channel", "queue_id"})
STATUS_ICONS = {"open": "&#9679;", "waiting": "&#9684;", "closed": "&#9675;"}


def dictfetchall(cursor: Any) -> list[dict[str, Any]]:
    names = [col[0] for col in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


class TicketQuerySet(QuerySet):
    def matching(self, text: str) -> "TicketQuerySet":
        """Full text match on subject and body (PostgreSQL)."""
        text = " ".join(text.split())
        if not text:
            return self.none()
        if text.startswith("#") and text[1:].isdigit():
            return self.filter(pk=int(text[1:]))
        return self.extra(
            where=["search_vector @@ plainto_tsquery('english', %s)"],
            params=[text],
        )

    def ranked(self, text: str) -> "TicketQuerySet":
        rank = RawSQL("ts_rank(search_vector, plainto_tsquery('english', %s))", (text,))
        return self.annotate(rank=rank).order_by("-rank", "-created_at")

    def by_options(self, options: dict[str, str]) -> "TicketQuerySet":
        """Narrow by the simple options of the list page's query string."""
        wanted = {}
        for key, value in options.items():
            if key not in FILTERABLE:
                logger.debug("ignoring list option %r", key)
                continue
            if value != "":
                wanted[key] = value
        return self.filter(**wanted)

    def stale(self, days: int = 14) -> "TicketQuerySet":
        limit = date.today() - timedelta(days=days)
        return self.filter(status="waiting", updated_at__lt=limit)


class TicketAdmin(admin.ModelAdmin):
    list_display = ("id", "subject", "status_badge", "queue", "updated_at")
    list_filter = ("status", "queue")
    actions = ["merge_into_first", "recount_replies"]

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        qs = super().get_queryset(request)
        if request.user.is_superuser:
            return qs
        return qs.filter(queue__members=request.user)

    def get_search_results(self, request, queryset, search_term):
        term = search_term.strip()
        if not term:
            return queryset, False
        if "@" not in term:
            return super().get_search_results(request, queryset, search_term)
        # Customers write from several addresses; look at the event log too.
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT ticket_id FROM helpdesk_ticketevent "
                "WHERE lower(sender) = lower(%s) LIMIT 500",
                [term],
            )
            ids = [row[0] for row in cursor.fetchall()]
        return queryset.filter(pk__in=ids), False

    @admin.display(description="Status")
    def status_badge(self, obj: Ticket) -> str:
        icon = mark_safe(STATUS_ICONS.get(obj.status, ""))
        return format_html('{} <span title="{}">{}</span>', icon, obj.status_note, obj.status)

    @admin.action(description="Merge selected into the oldest")
    def merge_into_first(self, request: HttpRequest, queryset: QuerySet) -> None:
        if not request.user.has_perm("helpdesk.change_ticket"):
            raise PermissionDenied
        tickets = list(queryset.order_by("created_at"))
        if len(tickets) < 2:
            self.message_user(request, "Select two or more.", messages.WARNING)
            return
        target, rest = tickets[0], tickets[1:]
        note = request.POST.get("merge_note", "")[:200]
        with transaction.atomic(), connection.cursor() as cursor:
            for ticket in rest:
                cursor.execute(
                    "UPDATE helpdesk_ticketevent SET ticket_id = %s, merge_note = %s "
                    "WHERE ticket_id = %s",
                    [target.pk, note, ticket.pk],
                )
                ticket.status = "closed"
                ticket.save(update_fields=["status"])
        self.message_user(request, f"{len(rest)} merged into #{target.pk}.")

    @admin.action(description="Recount replies")
    def recount_replies(self, request: HttpRequest, queryset: QuerySet) -> None:
        table = TicketEvent._meta.db_table
        with connection.cursor() as cursor:
            for pk in queryset.values_list("pk", flat=True):
                cursor.execute(f"SELECT COUNT(*) FROM {table} WHERE ticket_id = %s", [pk])
                Ticket.objects.filter(pk=pk).update(reply_count=cursor.fetchone()[0])


@require_GET
@permission_required("helpdesk.view_report", raise_exception=True)
def ageing_report(request: HttpRequest) -> HttpResponse:
    order = request.GET.get("order", "age")
    column = REPORT_COLUMNS.get(order)
    if column is None:
        raise Http404("No such column")
    queue = request.GET.get("queue", "")
    sql = """
        SELECT t.id, t.subject, t.status, q.name AS queue_name, a.full_name AS agent_name,
               CURRENT_DATE - t.created_at::date AS age_days
          FROM helpdesk_ticket t
          JOIN helpdesk_queue q ON q.id = t.queue_id
          LEFT JOIN helpdesk_agent a ON a.id = t.agent_id
         WHERE t.status <> 'closed'
    """
    params: list[Any] = []
    if queue:
        sql += " AND q.slug = %s"
        params.append(queue)
    sql += f" ORDER BY {column} LIMIT 1000"
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows = dictfetchall(cursor)
    return render(request, "helpdesk/ageing.html", {"rows": rows, "order": order})


@require_GET
@login_required
def customer_history(request: HttpRequest, email: str) -> JsonResponse:
    """Recent tickets of a customer, for the side panel."""
    if not request.user.has_perm("helpdesk.view_ticket"):
        raise PermissionDenied
    email = email.strip()
    tickets = Ticket.objects.raw(
        "SELECT id, subject, status, created_at FROM helpdesk_ticket "
        "WHERE lower(customer_email) = lower(%s) ORDER BY created_at DESC LIMIT 25",
        [email],
    )
    data = [
        {"id": t.pk, "subject": t.subject, "status": t.status, "created": t.created_at.isoformat()}
        for t in tickets
    ]
    return JsonResponse({"email": email, "tickets": data})


@require_POST
@login_required
def reassign(request: HttpRequest, pk: int) -> HttpResponse:
    ticket = get_object_or_404(Ticket, pk=pk, queue__members=request.user)
    agent = request.POST.get("agent", "")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT id FROM helpdesk_agent WHERE login = %s AND active", [agent])
        found = cursor.fetchone()
        if found is None:
            messages.error(request, "No such agent.")
            return redirect("helpdesk:ticket", pk=pk)
        ticket.agent_id = found[0]
        ticket.save(update_fields=["agent_id"])
        TicketEvent.objects.create(ticket=ticket, kind="assign", sender=request.user.email)
    logger.info("ticket %s now with agent %s", pk, found[0])
    return redirect("helpdesk:ticket", pk=pk)


@require_GET
@login_required
def queue_totals(request: HttpRequest) -> JsonResponse:
    totals = (
        Queue.objects.filter(members=request.user)
        .annotate(open=Count("ticket", filter=Q(ticket__status="open")), total=Count("ticket"))
        .annotate(done=F("total") - F("open"))
        .values("slug", "open", "done")
    )
    return JsonResponse({"queues": list(totals)})


def close_many(ids: Iterable[str], closed_by: str) -> int:
    """Close tickets named by an import file; returns how many changed."""
    wanted = [i for i in ids if i]
    if not wanted:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE helpdesk_ticket SET status = 'closed', closed_by = %s "
            "WHERE external_id = ANY(%s) AND status <> 'closed'",
            [closed_by, wanted],
        )
        return cursor.rowcount
