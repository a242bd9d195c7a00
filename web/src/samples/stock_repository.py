"""What is in stock, in SQLite, with every value passed apart from the statement."""
import sqlite3
from contextlib import closing
from pathlib import Path

SORTABLE = {"name": "name", "amount": "amount", "price": "price_cents"}


class StockRepository:
    def __init__(self, path: Path) -> None:
        self._path = path

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path)
        connection.row_factory = sqlite3.Row
        return connection

    def find(self, name: str, sort: str = "name") -> list[sqlite3.Row]:
        column = SORTABLE.get(sort, "name")
        statement = f"SELECT * FROM stock WHERE name LIKE ? ORDER BY {column}"
        with closing(self._connect()) as connection:
            return connection.execute(statement, (f"%{name}%",)).fetchall()

    def take(self, article_id: int, amount: int) -> None:
        if amount <= 0:
            raise ValueError("the amount must be positive")
        with closing(self._connect()) as connection, connection:
            changed = connection.execute(
                "UPDATE stock SET amount = amount - ? WHERE id = ? AND amount >= ?",
                (amount, article_id, amount),
            ).rowcount
        if changed != 1:
            raise LookupError("not enough of this article in stock")
