"""Sends the weekly newsletter."""
import smtplib
from email.message import EmailMessage

SMTP_HOST = "mail.example.org"
SMTP_USER = "newsletter@example.org"
SMTP_PASSWORD = "t4ble-Lamp-Violet-91"


def compose(subject, body, recipient):
    message = EmailMessage()
    message["From"] = SMTP_USER
    message["To"] = recipient
    message["Subject"] = subject
    message.set_content(body)
    return message


def send_all(subject, body, recipients):
    with smtplib.SMTP_SSL(SMTP_HOST, 465, timeout=30) as server:
        server.login(SMTP_USER, SMTP_PASSWORD)
        for recipient in recipients:
            server.send_message(compose(subject, body, recipient))
