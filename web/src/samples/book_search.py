"""Search over a small library catalogue."""
import sqlite3

from flask import Flask, g, jsonify, request

app = Flask(__name__)
DATABASE = "library.db"


def connection():
    if "db" not in g:
        g.db = sqlite3.connect(DATABASE)
        g.db.row_factory = sqlite3.Row
    return g.db


@app.teardown_appcontext
def close_connection(_error):
    db = g.pop("db", None)
    if db is not None:
        db.close()


@app.get("/books")
def search_books():
    title = request.args.get("title", "")
    order = "ASC" if request.args.get("order") != "desc" else "DESC"
    query = f"SELECT id, title, author FROM books WHERE title LIKE '%{title}%' ORDER BY title {order}"
    rows = connection().execute(query).fetchall()
    return jsonify([dict(row) for row in rows])


@app.get("/books/<int:book_id>")
def show_book(book_id):
    row = connection().execute("SELECT * FROM books WHERE id = ?", (book_id,)).fetchone()
    if row is None:
        return jsonify({"error": "no such book"}), 404
    return jsonify(dict(row))
