"""API of the appointment system: REST for the apps, GraphQL for the front desk."""

import datetime as dt
import logging
import random
import secrets

import graphene
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from graphene_django import DjangoObjectType
from graphql import GraphQLError
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action, api_view, permission_classes, throttle_classes
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.permissions import SAFE_METHODS, AllowAny, BasePermission, IsAdminUser, IsAuthenticated
from rest_framework.response import Response
from rest_framework.throttling import AnonRateThrottle

from clinic.models import Appointment, Document, Invitation, Note, Practice, Slot
from clinic.tasks import send_invitation

logger = logging.getLogger(__name__)

MAX_SLOTS = 96
REMINDERS = (
    "See you soon!",
    "We look forward to your visit.",
    "Please bring your insurance card.",
)


class InvitationThrottle(AnonRateThrottle):
    rate = "5/minute"


class IsStaffOfPractice(BasePermission):
    """Staff may act on what belongs to their own practice."""

    def has_permission(self, request, view):
        return request.user.is_authenticated and hasattr(request.user, "staff")

    def has_object_permission(self, request, view, obj):
        if request.method in SAFE_METHODS and getattr(obj, "patient_id", None) == request.user.pk:
            return True
        return obj.practice_id == request.user.staff.practice_id


class SmallPages(LimitOffsetPagination):
    default_limit = 25
    max_limit = 100


class AppointmentSerializer(serializers.ModelSerializer):
    class Meta:
        model = Appointment
        fields = ["id", "slot", "patient", "reason", "state", "created_at"]
        read_only_fields = ["id", "patient", "state", "created_at"]

    def validate_reason(self, value):
        value = " ".join(value.split())
        if len(value) > 400:
            raise serializers.ValidationError("Please keep it under 400 characters.")
        return value

    def validate_slot(self, slot):
        if slot.starts_at < timezone.now():
            raise serializers.ValidationError("This slot has passed.")
        return slot


class ProfileSerializer(serializers.ModelSerializer):
    phone = serializers.RegexField(r"^\+?[0-9 ]{6,20}$", source="patient.phone", required=False)

    class Meta:
        model = User
        fields = ["first_name", "last_name", "phone"]

    def update(self, instance, validated_data):
        patient = validated_data.pop("patient", {})
        for name in ("first_name", "last_name"):
            if name in validated_data:
                setattr(instance, name, validated_data[name])
        if "phone" in patient:
            instance.patient.phone = patient["phone"]
            instance.patient.save(update_fields=["phone"])
        instance.save()
        return instance


class AppointmentViewSet(
    mixins.CreateModelMixin, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    serializer_class = AppointmentSerializer
    permission_classes = [IsAuthenticated]
    pagination_class = SmallPages

    def get_queryset(self):
        queryset = Appointment.objects.select_related("slot", "slot__practice").filter(patient=self.request.user)
        state = self.request.query_params.get("state")
        if state:
            queryset = queryset.filter(state=state)
        return queryset.order_by("slot__starts_at")

    @transaction.atomic
    def perform_create(self, serializer):
        slot = Slot.objects.select_for_update().get(pk=serializer.validated_data["slot"].pk)
        if slot.taken:
            raise ValidationError({"slot": "Somebody was faster."})
        slot.taken = True
        slot.save(update_fields=["taken"])
        serializer.save(patient=self.request.user, state=Appointment.BOOKED)

    @action(detail=True, methods=["post"])
    def cancel(self, request, pk=None):
        appointment = self.get_object()
        notice = appointment.slot.starts_at - timezone.now()
        if notice < dt.timedelta(hours=12):
            return Response({"detail": "Please call the practice."}, status=status.HTTP_409_CONFLICT)
        appointment.state = Appointment.CANCELLED
        appointment.save(update_fields=["state"])
        Slot.objects.filter(pk=appointment.slot_id).update(taken=False)
        logger.info("appointment %s cancelled by its patient", appointment.pk)
        return Response({"state": appointment.state})


class DocumentViewSet(viewsets.ReadOnlyModelViewSet):
    permission_classes = [IsAuthenticated, IsStaffOfPractice]
    pagination_class = SmallPages
    queryset = Document.objects.none()

    def get_queryset(self):
        queryset = Document.objects.filter(practice_id=self.request.user.staff.practice_id)
        text = self.request.query_params.get("q", "").strip()
        if len(text) >= 3:
            queryset = queryset.filter(Q(title__icontains=text) | Q(keywords__icontains=text))
        return queryset.order_by("-created_at")

    @action(detail=True, methods=["post"])
    def hand_over(self, request, pk=None):
        """Give a document to another practice of the same group."""
        document = self.get_object()
        try:
            target = Practice.objects.get(pk=int(request.data["practice"]), group_id=document.practice.group_id)
        except (KeyError, TypeError, ValueError, Practice.DoesNotExist):
            raise ValidationError({"practice": "unknown practice"})
        document.practice = target
        document.save(update_fields=["practice"])
        logger.info("document %s handed to practice %s", document.pk, target.pk)
        return Response({"practice": target.pk})


@api_view(["GET"])
@permission_classes([IsAuthenticated])
def next_visit(request):
    """What the app shows on its first page."""
    appointment = (
        Appointment.objects.filter(patient=request.user, state=Appointment.BOOKED, slot__starts_at__gte=timezone.now())
        .order_by("slot__starts_at")
        .first()
    )
    if appointment is None:
        return Response(status=status.HTTP_204_NO_CONTENT)
    return Response({"starts_at": appointment.slot.starts_at, "greeting": random.choice(REMINDERS)})


@api_view(["PATCH"])
@permission_classes([IsAuthenticated])
def update_profile(request):
    serializer = ProfileSerializer(request.user, data=request.data, partial=True)
    serializer.is_valid(raise_exception=True)
    serializer.save()
    return Response(serializer.data)


@api_view(["POST"])
@permission_classes([IsAdminUser])
def generate_slots(request):
    """Create the slots of one day."""
    try:
        day = dt.date.fromisoformat(str(request.data.get("day")))
        minutes = int(request.data.get("minutes", 15))
        count = int(request.data.get("count", 16))
    except (TypeError, ValueError):
        raise ValidationError("day, minutes and count are needed")
    if not 5 <= minutes <= 120 or not 1 <= count <= MAX_SLOTS:
        raise ValidationError("minutes or count out of range")

    start = timezone.make_aware(dt.datetime.combine(day, dt.time(8)))
    practice = request.user.staff.practice
    slots = [Slot(practice=practice, starts_at=start + dt.timedelta(minutes=i * minutes)) for i in range(count)]
    Slot.objects.bulk_create(slots, ignore_conflicts=True)
    return Response({"created": len(slots)}, status=status.HTTP_201_CREATED)


@api_view(["POST"])
@permission_classes([IsStaffOfPractice])
def invite(request):
    email = serializers.EmailField().run_validation(request.data.get("email"))
    token = secrets.token_urlsafe(24)
    invitation = Invitation.objects.create(
        practice_id=request.user.staff.practice_id,
        email=email,
        token=token,
        expires_at=timezone.now() + dt.timedelta(days=3),
    )
    send_invitation.delay(invitation.pk)
    logger.info("invitation %s created", invitation.pk)
    return Response({"id": invitation.pk}, status=status.HTTP_201_CREATED)


@api_view(["POST"])
@permission_classes([AllowAny])
@throttle_classes([InvitationThrottle])
def accept_invitation(request):
    token = str(request.data.get("token", ""))
    with transaction.atomic():
        invitation = Invitation.objects.select_for_update().filter(token=token, used_at=None).first()
        if invitation is None or invitation.expires_at < timezone.now():
            raise PermissionDenied("This invitation is not valid any more.")
        user, _ = User.objects.get_or_create(username=invitation.email, defaults={"email": invitation.email})
        invitation.practice.patients.add(user)
        invitation.used_at = timezone.now()
        invitation.save(update_fields=["used_at"])
    return Response({"practice": invitation.practice.name})


class NoteType(DjangoObjectType):
    class Meta:
        model = Note
        fields = ("id", "text", "author", "written_at")


class Query(graphene.ObjectType):
    note = graphene.Field(NoteType, id=graphene.ID(required=True))
    notes = graphene.List(NoteType, patient=graphene.ID(required=True), first=graphene.Int(default_value=20))

    def resolve_note(root, info, id):
        user = info.context.user
        if not user.is_authenticated or not hasattr(user, "staff"):
            raise GraphQLError("not permitted")
        return Note.objects.filter(pk=id, practice_id=user.staff.practice_id).first()

    def resolve_notes(root, info, patient, first):
        user = info.context.user
        if not user.has_perm("clinic.view_note"):
            raise GraphQLError("not permitted")
        first = max(1, min(first, 100))
        return Note.objects.filter(practice_id=user.staff.practice_id, patient_id=patient).order_by("-written_at")[:first]


class DeleteNote(graphene.Mutation):
    class Arguments:
        id = graphene.ID(required=True)

    ok = graphene.Boolean()

    def mutate(root, info, id):
        user = info.context.user
        if not user.has_perm("clinic.delete_note"):
            raise GraphQLError("not permitted")
        note = Note.objects.filter(pk=id, practice_id=user.staff.practice_id).first()
        if note is None:
            return DeleteNote(ok=False)
        if note.author_id != user.pk and not user.staff.is_lead:
            raise GraphQLError("only the author or the lead may delete a note")
        note.delete()
        logger.info("note %s deleted by %s", id, user.pk)
        return DeleteNote(ok=True)
