"""
payroll.reports
~~~~~~~~~~~~~~~

Reports of the personnel office, read from the Oracle payroll schema and
delivered as text, CSV or mail attachment. Started by cron and by the small
intranet page in ``payroll.pages``.
"""

import csv
import datetime
import io
import logging
import os
import re
import smtplib
import ssl
import subprocess
from email.message import EmailMessage
from html import escape

import cx_Oracle

LOGGER = logging.getLogger('payroll')

SCHEMA = 'PAY_OWNER'
GROUPABLE = {
    'department': 'd.dept_name',
    'grade': 'e.grade_code',
    'location': 'd.loc_code',
    'contract': 'e.contract_type',
}
LOOKUP_TABLES = ('GRADES', 'LOCATIONS', 'COST_CENTRES', 'ABSENCE_CODES')
PERIOD_FORMAT = re.compile(r'[0-9]{4}-(0[1-9]|1[0-2])')


class ReportError(Exception):
    """The report cannot be produced; the text is meant for the user."""


class ReportDatabase(object):
    """
    Thin layer over a session pool. Cursors are closed after every query, and
    rows come back as dictionaries with lower case keys.
    """

    def __init__(self, user, password, dsn):
        self._pool = cx_Oracle.SessionPool(
            user=user,
            password=password,
            dsn=dsn,
            min=1,
            max=4,
            increment=1,
            encoding='UTF-8',
        )

    def query(self, statement, **binds):
        """Run a query and return the list of its rows."""
        connection = self._pool.acquire()
        try:
            cursor = connection.cursor()
            cursor.arraysize = 500
            cursor.execute(statement, binds)
            names = [column[0].lower() for column in cursor.description]
            result = [dict(zip(names, row)) for row in cursor]
            cursor.close()
            return result
        finally:
            self._pool.release(connection)

    def change(self, statement, rows):
        """Run one statement for every row of binds, all or nothing."""
        connection = self._pool.acquire()
        try:
            cursor = connection.cursor()
            cursor.executemany(statement, rows)
            connection.commit()
            return cursor.rowcount
        except cx_Oracle.DatabaseError:
            connection.rollback()
            LOGGER.exception('change was rolled back')
            raise ReportError('The change could not be stored.')
        finally:
            self._pool.release(connection)


class PayrollReports(object):

    def __init__(self, database, outbox):
        self.database = database
        self.outbox = outbox

    def employee(self, personnel_number, requested_by):
        """
        The master record of one employee, as far as the person asking is the
        employee or belongs to the same line of management.
        """
        rows = self.database.query(
            'SELECT e.emp_id, e.full_name, e.grade_code, d.dept_name '
            'FROM ' + SCHEMA + '.EMPLOYEES e JOIN ' + SCHEMA + '.DEPARTMENTS d ON d.dept_id = e.dept_id '
            'WHERE e.personnel_no = :personnel_number '
            'AND (e.login = :login OR d.manager_login = :login)',
            personnel_number=personnel_number,
            login=requested_by,
        )
        if len(rows) != 1:
            raise ReportError('No such employee.')
        return rows[0]

    def headcount(self, group_by, on_date=None, contract_types=None):
        """
        Number of employees by one of the columns in GROUPABLE. ``on_date`` is
        a date, ``contract_types`` a list of contract codes.
        """
        try:
            column = GROUPABLE[group_by]
        except KeyError:
            raise ReportError('The report cannot be grouped by this column.')
        binds = {'on_date': on_date or datetime.date.today()}
        condition = 'e.entry_date <= :on_date AND (e.exit_date IS NULL OR e.exit_date > :on_date)'
        if contract_types:
            marks = []
            for number, code in enumerate(contract_types):
                key = 'ct%d' % number
                marks.append(':' + key)
                binds[key] = code
            condition += ' AND e.contract_type IN (%s)' % ', '.join(marks)
        statement = (
            'SELECT {column} AS label, COUNT(*) AS heads '
            'FROM {schema}.EMPLOYEES e JOIN {schema}.DEPARTMENTS d ON d.dept_id = e.dept_id '
            'WHERE {condition} GROUP BY {column} ORDER BY {column}'
        ).format(column=column, schema=SCHEMA, condition=condition)
        return self.database.query(statement, **binds)

    def payslip_lines(self, personnel_number, period):
        if not PERIOD_FORMAT.fullmatch(period):
            raise ReportError('The period has to look like 2021-07.')
        table = '%s.PAY_LINES_%s' % (SCHEMA, period.replace('-', '_'))
        return self.database.query(
            'SELECT line_no, wage_type, amount FROM ' + table +
            ' WHERE personnel_no = :personnel_number ORDER BY line_no',
            personnel_number=personnel_number,
        )

    def absences(self, department, first_day, last_day, code=None):
        """Absences of a department between two days (inclusive), optionally of one kind."""
        statement = (
            'SELECT e.full_name, a.code, a.first_day, a.last_day '
            'FROM PAY_OWNER.ABSENCES a JOIN PAY_OWNER.EMPLOYEES e ON e.emp_id = a.emp_id '
            'JOIN PAY_OWNER.DEPARTMENTS d ON d.dept_id = e.dept_id '
            'WHERE d.dept_name = :department AND a.first_day <= :last_day AND a.last_day >= :first_day'
        )
        binds = dict(department=department, first_day=first_day, last_day=last_day)
        if code is not None:
            statement += ' AND a.code = :code'
            binds['code'] = code
        statement += ' ORDER BY e.full_name, a.first_day'
        return self.database.query(statement, **binds)

    def suggest(self, fragment):
        """Names for the search box, at most fifteen of them."""
        fragment = fragment.strip()
        if len(fragment) < 3:
            return []
        pattern = fragment.upper().replace('!', '!!').replace('%', '!%').replace('_', '!_') + '%'
        rows = self.database.query(
            "SELECT full_name FROM PAY_OWNER.EMPLOYEES "
            "WHERE UPPER(full_name) LIKE :pattern ESCAPE '!' AND ROWNUM <= 15 ORDER BY full_name",
            pattern=pattern,
        )
        return [row['full_name'] for row in rows]

    def lookup(self, table):
        """Content of a lookup table, for the selection lists of the forms."""
        table = table.upper()
        if table not in LOOKUP_TABLES:
            raise ReportError('There is no such list.')
        rows = self.database.query('SELECT code, label FROM %s.%s ORDER BY code' % (SCHEMA, table))
        return [(row['code'], row['label']) for row in rows]

    def book_corrections(self, upload, booked_by):
        """
        Store the corrections of an uploaded CSV file with the columns
        personnel_no, wage_type, amount and remark.
        """
        rows = []
        for line in csv.DictReader(io.StringIO(upload)):
            rows.append({
                'personnel_no': line['personnel_no'],
                'wage_type': line['wage_type'],
                'amount': line['amount'],
                'remark': (line.get('remark') or '')[:80],
                'booked_by': booked_by,
            })
        if len(rows) > 2000:
            raise ReportError('The file has too many lines.')
        stored = self.database.change(
            'INSERT INTO PAY_OWNER.CORRECTIONS (personnel_no, wage_type, amount, remark, booked_by, booked_at) '
            'VALUES (:personnel_no, :wage_type, :amount, :remark, :booked_by, SYSDATE)',
            rows,
        )
        LOGGER.info('%d corrections stored', stored)
        return stored

    def as_table(self, title, rows):
        """The rows as a plain HTML table for the intranet page."""
        if not rows:
            return '<h2>%s</h2><p>Nothing found.</p>' % escape(title)
        columns = list(rows[0])
        parts = ['<h2>%s</h2><table><tr>' % escape(title)]
        parts.extend('<th>%s</th>' % escape(column) for column in columns)
        parts.append('</tr>')
        for row in rows:
            cells = ''.join('<td>%s</td>' % escape(str(row[column])) for column in columns)
            parts.append('<tr>%s</tr>' % cells)
        parts.append('</table>')
        return '\n'.join(parts)

    def store(self, file_name, text):
        """Put a finished report into the outbox, readable for the office only."""
        path = os.path.join(self.outbox, os.path.basename(file_name))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        with os.fdopen(descriptor, 'w', encoding='utf-8') as handle:
            handle.write(text)
        return path

    def send(self, server, recipient, path):
        message = EmailMessage()
        message['From'] = 'payroll@corp.example'
        message['To'] = recipient
        message['Subject'] = 'Payroll report'
        message.set_content('The report you asked for is attached.')
        with open(path, 'rb') as handle:
            message.add_attachment(
                handle.read(), maintype='text', subtype='csv', filename=os.path.basename(path))
        with smtplib.SMTP(server['host'], 587, timeout=30) as smtp:
            smtp.starttls(context=ssl.create_default_context())
            smtp.login(server['user'], server['password'])
            smtp.send_message(message)


def print_on_office_printer(path, printer, copies=1):
    """Send a stored report to one of the printers in the office."""
    command = ['lp', '-d', printer, '-n', str(int(copies)), '--', path]
    try:
        subprocess.check_call(command, timeout=60)
    except subprocess.CalledProcessError as error:
        LOGGER.error('lp ended with status %d', error.returncode)
        raise ReportError('The printer did not take the report.')
