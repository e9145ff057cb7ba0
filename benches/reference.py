"""The reference in Python: mysqlclient, with decorators written by hand, as a program of the time would have them.

Driven line by line on standard input, so that its rounds take turns with those of the others; it times itself.

    open HOST PORT USER DATABASE    -> ok
    run WORK ROW COUNT              -> ok SECONDS
    once WORK ROW                   -> ok 0, after `midway` and a line in return where the work is `interrupted`
    anything that fails             -> error TEXT
"""

import functools
import sys
import threading
import time

import MySQLdb

UPDATE = "UPDATE account SET balance = balance + %s WHERE id = %s"
SELECT = "SELECT balance FROM account WHERE id = %s"
LOST = {1053, 1927, 2002, 2003, 2006, 2013, 2055}
REPEATABLE = LOST | {1205, 1213}


class Database:
    def __init__(self, **where):
        self.where = where
        self.lock = threading.RLock()
        self.connect()

    def connect(self):
        self.conn = MySQLdb.connect(autocommit=False, charset="utf8mb4", **self.where)


def transactional(function):
    """Commits what `function` did, or rolls it back."""

    @functools.wraps(function)
    def wrapper(db, *args):
        with db.lock:
            cursor = db.conn.cursor()
            try:
                result = function(cursor, *args)
                db.conn.commit()
                return result
            except BaseException:
                try:
                    db.conn.rollback()
                except MySQLdb.Error:
                    pass
                raise
            finally:
                cursor.close()

    return wrapper


def retry_on_disconnect(attempts=3, delay=0.01):
    """Connects again and repeats the call."""

    def decorate(function):
        @functools.wraps(function)
        def wrapper(db, *args):
            for attempt in range(1, attempts + 1):
                try:
                    return function(db, *args)
                except MySQLdb.Error as error:
                    code = error.args[0] if error.args else 0
                    if code not in REPEATABLE or attempt == attempts:
                        raise
                    if attempt > 1:
                        time.sleep(delay)
                    if code in LOST:
                        try:
                            db.connect()
                        except MySQLdb.Error:
                            if attempt == attempts:
                                raise

        return wrapper

    return decorate


@retry_on_disconnect()
@transactional
def update(tx, row):
    tx.execute(UPDATE, (1, row))


@retry_on_disconnect()
@transactional
def transfer(tx, row):
    tx.execute(SELECT, (row,))
    tx.fetchone()
    tx.execute(UPDATE, (-1, row))
    tx.execute(UPDATE, (1, row + 1))


@retry_on_disconnect()
@transactional
def ten(tx, row):
    for each in range(row, row + 10):
        tx.execute(UPDATE, (1, each))


@retry_on_disconnect()
@transactional
def read(tx, row):
    tx.execute(SELECT, (row,))
    return tx.fetchone()


@retry_on_disconnect()
@transactional
def empty(tx, row):
    pass


@retry_on_disconnect()
@transactional
def nested(tx, row):
    def part(row, depth):
        tx.execute(UPDATE, (1, row))
        if depth > 1:
            tx.execute(f"SAVEPOINT part_{depth}")
            part(row + 1, depth - 1)
            tx.execute(f"RELEASE SAVEPOINT part_{depth}")

    part(row, 3)


@retry_on_disconnect()
@transactional
def interrupted(tx, row):
    tx.execute(UPDATE, (1, row))
    say("midway")
    sys.stdin.readline()
    tx.execute(UPDATE, (1, row + 1))


WORKS = {work.__name__: work for work in (update, transfer, ten, read, empty, nested, interrupted)}


def say(line):
    print(line, flush=True)


def obey(db, command, *words):
    if command == "open":
        host, port, user, database = words
        return Database(host=host, port=int(port), user=user, database=database), 0
    work, row = WORKS[words[0]], int(words[1])
    count = int(words[2]) if command == "run" else 1
    began = time.perf_counter()
    for _ in range(count):
        work(db, row)
    return db, time.perf_counter() - began


def main():
    db = None
    for line in sys.stdin:
        try:
            db, seconds = obey(db, *line.split())
            say(f"ok {seconds:.9f}")
        except Exception as error:
            say(f"error {' '.join(str(error).split())}")


main()
