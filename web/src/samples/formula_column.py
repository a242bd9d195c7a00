"""Adds computed columns to a table that users upload."""
import csv
import io

ALLOWED_NAMES = {"round": round, "abs": abs, "min": min, "max": max}


def read_table(text):
    return list(csv.DictReader(io.StringIO(text)))


def to_number(value):
    try:
        return float(value)
    except ValueError:
        return value


def add_column(rows, name, formula):
    """`formula` is what the user typed, such as `price * amount`."""
    for row in rows:
        values = {key: to_number(value) for key, value in row.items()}
        row[name] = eval(formula, dict(ALLOWED_NAMES), values)
    return rows


def handle_request(form):
    rows = read_table(form["table"])
    return add_column(rows, form["column"], form["formula"])
