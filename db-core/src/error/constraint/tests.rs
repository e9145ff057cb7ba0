use proptest::prelude::*;

use super::{Constraint, parse};

/// name, database, table, column, value, referenced table, referenced column; `-` for what is not told.
type Row = (u16, &'static str, [&'static str; 7]);

fn all(constraint: &Constraint) -> [&str; 7] {
    [
        constraint.name(),
        constraint.database(),
        constraint.table(),
        constraint.column(),
        constraint.value(),
        constraint.referenced_table(),
        constraint.referenced_column(),
    ]
    .map(|part| part.unwrap_or("-"))
}

#[test]
fn names_and_values_are_found_in_the_messages_of_both_servers() {
    #[rustfmt::skip]
    let table: &[Row] = &[
        // 1062: MariaDB, MySQL.
        (1062, "Duplicate entry '7' for key 'PRIMARY'",             ["PRIMARY", "-", "-", "-", "7", "-", "-"]),
        (1062, "Duplicate entry '7' for key 'user.PRIMARY'",        ["PRIMARY", "-", "user", "-", "7", "-", "-"]),
        (1062, "Duplicate entry 'a@b' for key 'user.email'",        ["email", "-", "user", "-", "a@b", "-", "-"]),
        (1062, "Duplicate entry '1-2' for key 'pair'",              ["pair", "-", "-", "-", "1-2", "-", "-"]),
        (1062, "Duplicate entry '' for key 'k'",                    ["k", "-", "-", "-", "", "-", "-"]),
        (1062, "Duplicate entry 'it's' for key 'k'",                ["k", "-", "-", "-", "it's", "-", "-"]),
        (1062, "Duplicate entry 'two\nlines' for key 'k'",          ["k", "-", "-", "-", "two\nlines", "-", "-"]),
        (1062, "Duplicate entry 'x' for key 'y' for key 't.k'",     ["k", "-", "t", "-", "x' for key 'y", "-", "-"]),
        (1062, "Duplicate entry 'sixty-one and then...' for key 'k'", ["k", "-", "-", "-", "sixty-one and then...", "-", "-"]),
        (1062, r"Duplicate entry '\x00\xFF' for key 't.k'",         ["k", "-", "t", "-", r"\x00\xFF", "-", "-"]),
        (1062, "Duplicate entry '7' for key 'we`ird.t.k'1'",        ["k'1", "-", "we`ird.t", "-", "7", "-", "-"]),
        (1062, "Doppelter Eintrag '7' für Schlüssel 't.k'",         ["k", "-", "t", "-", "7", "-", "-"]),
        (1062, "Doppelter Eintrag 'it's' für Schlüssel 'k'",        ["k", "-", "-", "-", "it's", "-", "-"]),
        (1062, "Duplicate entry '7' for key 't.k' (errno 1062) (sqlstate 23000)",
                                                                    ["k", "-", "t", "-", "7", "-", "-"]),
        (1062, "Duplicate entry '7' for key 't.k' (errno 1062) (sqlstate 23000): Sql: \"insert into t values ('secret')\"",
                                                                    ["k", "-", "t", "-", "7", "-", "-"]),
        (1586, "Duplicate entry '7' for key 't.k'",                 ["k", "-", "t", "-", "7", "-", "-"]),
        (1569, "ALTER TABLE causes auto_increment resequencing, resulting in duplicate entry '1' for key 'PRIMARY'",
                                                                    ["PRIMARY", "-", "-", "-", "1", "-", "-"]),
        (1859, "Duplicate entry for key 'k'",                       ["k", "-", "-", "-", "-", "-", "-"]),
        // Foreign keys.
        (1452, "Cannot add or update a child row: a foreign key constraint fails (`d`.`child`, CONSTRAINT `fk` FOREIGN KEY (`pid`) REFERENCES `parent` (`id`))",
                                                                    ["fk", "d", "child", "pid", "-", "parent", "id"]),
        (1451, "Cannot delete or update a parent row: a foreign key constraint fails (`d`.`child`, CONSTRAINT `fk` FOREIGN KEY (`pid`) REFERENCES `parent` (`id`) ON DELETE RESTRICT)",
                                                                    ["fk", "d", "child", "pid", "-", "parent", "id"]),
        (1452, "Cannot add or update a child row: a foreign key constraint fails (`d`.`child`, CONSTRAINT `fk` FOREIGN KEY (`a`, `b`) REFERENCES `other`.`parent` (`c`, `d`))",
                                                                    ["fk", "d", "child", "a, b", "-", "parent", "c, d"]),
        // Backticks doubled by MariaDB, not by MySQL.
        (1452, "… (`d`.`we``ird.t`, CONSTRAINT `f``k` FOREIGN KEY (`c``1`) REFERENCES `p` (`id`))",
                                                                    ["f`k", "d", "we`ird.t", "c`1", "-", "p", "id"]),
        (1452, "… (`d`.`we`ird.t`, CONSTRAINT `f`k` FOREIGN KEY (`c`1`) REFERENCES `p` (`id`))",
                                                                    ["f`k", "d", "we`ird.t", "c`1", "-", "p", "id"]),
        (1452, "Kind-Zeile kann nicht hinzugefügt oder aktualisiert werden: eine Fremdschlüsselbedingung schlägt fehl (`d`.`child`, CONSTRAINT `fk` FOREIGN KEY (`pid`) REFERENCES `parent` (`id`))",
                                                                    ["fk", "d", "child", "pid", "-", "parent", "id"]),
        (1452, "… (`d`.`child`, CONSTRAINT `fk` FOREIGN KEY (`pid`) REFERENCES `pare",
                                                                    ["fk", "d", "child", "pid", "-", "-", "-"]),
        (3730, "Cannot drop table 'parent' referenced by a foreign key constraint 'fk' on table 'child'.",
                                                                    ["fk", "-", "child", "-", "-", "parent", "-"]),
        // Checks.
        (4025, "CONSTRAINT `positive` failed for `d`.`t`",          ["positive", "d", "t", "-", "-", "-", "-"]),
        (4025, "CONSTRAINT `t.c` failed for `d`.`t`",               ["t.c", "d", "t", "c", "-", "-", "-"]),
        (4025, "CONSTRAINT `we``ird.t.c` failed for `d`.`we``ird.t`", ["we`ird.t.c", "d", "we`ird.t", "c", "-", "-", "-"]),
        (4025, "CONSTRAINT `positive` fehlgeschlagen: `d`.`t`",     ["positive", "d", "t", "-", "-", "-", "-"]),
        (3819, "Check constraint 't_chk_1' is violated.",           ["t_chk_1", "-", "-", "-", "-", "-", "-"]),
        (1369, "CHECK OPTION failed `d`.`v`",                       ["-", "d", "v", "-", "-", "-", "-"]),
        (1369, "CHECK OPTION failed 'd.v'",                         ["-", "d", "v", "-", "-", "-", "-"]),
        // Columns.
        (1048, "Column 'c' cannot be null",                         ["-", "-", "-", "c", "-", "-", "-"]),
        (1048, "Column 'it's' cannot be null",                      ["-", "-", "-", "it's", "-", "-", "-"]),
        (1048, "Feld 'c' darf nicht NULL sein",                     ["-", "-", "-", "c", "-", "-", "-"]),
        (1263, "Column set to default value; NULL supplied to NOT NULL column 'c' at row 1",
                                                                    ["-", "-", "-", "c", "-", "-", "-"]),
        (1364, "Field 'c' doesn't have a default value",            ["-", "-", "-", "c", "-", "-", "-"]),
        (1406, "Data too long for column 'c' at row 1",             ["-", "-", "-", "c", "-", "-", "-"]),
        (1264, "Out of range value for column 'c' at row 2",        ["-", "-", "-", "c", "-", "-", "-"]),
        (1265, "Data truncated for column 'c' at row 3",            ["-", "-", "-", "c", "-", "-", "-"]),
        (1366, "Incorrect integer value: 'x' for column 'c' at row 1", ["-", "-", "-", "c", "x", "-", "-"]),
        (1366, "Incorrect integer value: 'x' for column `d`.`t`.`c` at row 1",
                                                                    ["-", "d", "t", "c", "x", "-", "-"]),
        (1366, "Incorrect integer value: 'x' for column 'y' for column `d`.`t``2`.`c` at row 1",
                                                                    ["-", "d", "t`2", "c", "x' for column 'y", "-", "-"]),
        (1366, "Falscher integer-Wert: 'x' für Feld `d`.`t`.`c` in Zeile 1",
                                                                    ["-", "d", "t", "c", "x", "-", "-"]),
        (1366, "Falscher integer-Wert: 'x' für Feld 'c' in Zeile 1", ["-", "-", "-", "c", "x", "-", "-"]),
        (1292, "Incorrect datetime value: 'x' for column 'c' at row 1", ["-", "-", "-", "c", "x", "-", "-"]),
        (1292, "Truncated incorrect DOUBLE value: 'x'",             ["-", "-", "-", "-", "x", "-", "-"]),
        (1292, "Truncated incorrect DOUBLE value: 'x' for column 'y'", ["-", "-", "-", "-", "x' for column 'y", "-", "-"]),
        (1054, "Unknown column 'c' in 'field list'",                ["-", "-", "-", "c", "-", "-", "-"]),
        (1054, "Unknown column 't.c' in 'WHERE'",                   ["-", "-", "t", "c", "-", "-", "-"]),
        (1054, "Unbekanntes Tabellenfeld 'd.t.c' in WHERE",         ["-", "d", "t", "c", "-", "-", "-"]),
        (1146, "Table 'd.t' doesn't exist",                         ["-", "d", "t", "-", "-", "-", "-"]),
        (1146, "Tabelle 'd.t' existiert nicht",                     ["-", "d", "t", "-", "-", "-", "-"]),
    ];
    for (code, message, expected) in table {
        let constraint = parse(*code, message).unwrap_or_else(|| panic!("{code}: nothing found in {message}"));
        assert_eq!(all(&constraint), *expected, "{code}: {message}");
    }
}

#[test]
fn a_message_that_names_nothing_gives_nothing() {
    let table = [
        (1452, "Cannot add or update a child row: a foreign key constraint fails"),
        (1451, "Cannot delete or update a parent row: a foreign key constraint fails"),
        (1216, "Cannot add or update a child row: a foreign key constraint fails"),
        (1062, "Duplicate entry"),
        (1062, "Duplicate entry '7"),
        (1062, "Duplicate entry '7' for key 1"),
        (1062, "Duplicate entry 'a'b'c' for key 1"),
        (4025, "AUTOEXTEND_SIZE value should be between 4M and 4096M"),
        (3819, "'"),
        (1369, "`"),
        (3730, "'a' 'b"),
        (1213, "Deadlock found when trying to get lock; try restarting transaction"),
        (1644, "anything 'a trigger' wants to say"),
    ];
    for (code, message) in table {
        assert_eq!(parse(code, message), None, "{code}: {message}");
    }
}

#[test]
fn debug_keeps_the_value_to_itself() {
    let constraint = parse(1062, "Duplicate entry 'a@b' for key 'user.email'");
    assert_eq!(format!("{constraint:?}"), r#"Some(Constraint { name: "email", table: "user", value: <redacted> })"#);
}

const CODES: [u16; 18] = [1062, 1569, 1586, 1451, 1452, 1048, 1263, 1264, 1265, 1364, 1406, 1292, 1366, 1054, 1146, 1369, 3730, 4025];

proptest! {
    #[test]
    fn no_text_can_panic(any: String, dense in "[`'., ()é]{0,24}") {
        for code in CODES.into_iter().chain([1859, 3819, 1]) {
            parse(code, &any);
            parse(code, &dense);
        }
    }

    #[test]
    fn a_value_cannot_pass_for_a_name(value in "(\\PC|' for key '|' for column '|'|\n){0,30}") {
        for (code, message) in [
            (1062, format!("Doppelter Eintrag '{value}' für Schlüssel 'user.email'")),
            (1366, format!("Incorrect integer value: '{value}' for column `d`.`user`.`email` at row 1")),
            (1366, format!("Incorrect integer value: '{value}' for column 'email' at row 1")),
            (1366, format!("Falscher integer-Wert: '{value}' für Feld 'email' in Zeile 1")),
        ] {
            let constraint = parse(code, &message).expect("the format is known");
            prop_assert!(constraint.name().is_none_or(|name| name == "email"), "{}", message);
            prop_assert!(constraint.column().is_none_or(|column| column == "email"), "{}", message);
            prop_assert_eq!(constraint.value(), Some(&*value));
        }
        let constraint = parse(1062, &format!("Duplicate entry '{value}' for key 'user.email'"));
        let constraint = constraint.expect("the format is known");
        prop_assert_eq!(all(&constraint), ["email", "-", "user", "-", &value, "-", "-"]);
    }
}
