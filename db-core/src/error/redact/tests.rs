use proptest::prelude::*;

use super::message;

#[test]
fn names_stay_and_values_go() {
    #[rustfmt::skip]
    let table = [
        (1062, "Duplicate entry 'secret' for key 'email'",                      "Duplicate entry '<redacted>' for key 'email'"),
        (1062, "Duplicate entry 'secret' for key 'user.email'",                 "Duplicate entry '<redacted>' for key 'user.email'"),
        (1062, "Duplicate entry 'secret' for key 'x' for key 'k'",              "Duplicate entry '<redacted>' for key 'k'"),
        (1062, "Duplicate entry 'secret' for key 1",                            "Duplicate entry '<redacted>' for key 1"),
        (1062, "Doppelter Eintrag 'secret' für Schlüssel 'k'",                  "Doppelter Eintrag '<redacted>'"),
        (1062, "Duplicate entry 'secr",                                         "Duplicate entry '<redacted>"),
        (1062, "Duplicate entry secret",                                        "<redacted>"),
        (1586, "Duplicate entry 'secret' for key 't.k'",                        "Duplicate entry '<redacted>' for key 't.k'"),
        (1569, "ALTER TABLE causes auto_increment resequencing, resulting in duplicate entry 'secret' for key 'k'",
               "ALTER TABLE causes auto_increment resequencing, resulting in duplicate entry '<redacted>' for key 'k'"),
        (1557, "Upholding foreign key constraints for table 't', entry 'secret', key 1 would lead to a duplicate entry",
               "Upholding foreign key constraints for table 't', entry '<redacted>', key 1 would lead to a duplicate entry"),
        (1761, "Foreign key constraint for table 't', record 'secret' would lead to a duplicate entry in table 'c', key 'k'",
               "Foreign key constraint for table 't', record '<redacted>' would lead to a duplicate entry in table 'c', key 'k'"),
        (1762, "Foreign key constraint for table 't', record 'secret' would lead to a duplicate entry in a child table",
               "Foreign key constraint for table 't', record '<redacted>' would lead to a duplicate entry in a child table"),
        (1366, "Incorrect integer value: 'secret' for column 'c' at row 1",     "Incorrect integer value: '<redacted>' for column 'c' at row 1"),
        (1366, "Incorrect integer value: 'secret' for column `d`.`t`.`c` at row 1",
               "Incorrect integer value: '<redacted>' for column `d`.`t`.`c` at row 1"),
        (1366, "Falscher integer-Wert: 'secret' für Feld 'c' in Zeile 1",       "Falscher integer-Wert: '<redacted>' in Zeile 1"),
        (1292, "Incorrect datetime value: 'secret' for column 'c' at row 1",    "Incorrect datetime value: '<redacted>' for column 'c' at row 1"),
        (1292, "Truncated incorrect DOUBLE value: 'secret'",                    "Truncated incorrect DOUBLE value: '<redacted>'"),
        (1292, "Truncated incorrect DOUBLE value: 'x' for column secret'",      "Truncated incorrect DOUBLE value: '<redacted>'"),
        (1411, "Incorrect datetime value: 'secret' for function str_to_date",   "Incorrect datetime value: '<redacted>' for function str_to_date"),
        (1231, "Variable 'sql_mode' can't be set to the value of 'secret'",     "Variable 'sql_mode' can't be set to the value of '<redacted>'"),
        (1741, "Key value 'secret' was not found in table 'd.t'",               "Key value '<redacted>' was not found in table 'd.t'"),
        (1298, "Unknown or incorrect time zone: 'secret'",                      "Unknown or incorrect time zone: '<redacted>'"),
        (1300, "Invalid utf8mb4 character string: 'secret'",                    "Invalid utf8mb4 character string: '<redacted>'"),
        (1367, "Illegal double 'secret' value found during parsing",            "Illegal double '<redacted>' value found during parsing"),
        (1470, "String 'secret' is too long for user name (should be no longer than 32)",
               "String '<redacted>' is too long for user name (should be no longer than 32)"),
        (1525, "Incorrect DATE value: 'secret'",                                "Incorrect DATE value: '<redacted>'"),
        (1526, "Table has no partition for value secret",                       "<redacted>"),
        (1649, "Unknown locale: 'secret'",                                      "Unknown locale: '<redacted>'"),
        (1690, "BIGINT UNSIGNED value is out of range in '(`d`.`t`.`c` - 9876)'", "BIGINT UNSIGNED value is out of range in '<redacted>'"),
        (1918, "Encountered illegal value 'secret' when converting to DOUBLE",  "Encountered illegal value '<redacted>' when converting to DOUBLE"),
        (1977, "Cannot convert 'utf8mb4' character 0xF09F9880 to 'latin1'",     "Cannot convert '<redacted>'"),
        (3057, "Incorrect user-level lock name 'secret'.",                      "Incorrect user-level lock name '<redacted>'."),
        (3143, "Invalid JSON path expression. The error is around character position 1.",
               "Invalid JSON path expression. The error is around character position 1."),
        (3148, "A path expression must be encoded in the utf8 character set. The path expression 'secret' is encoded in character set 'latin1'.",
               "A path expression must be encoded in the utf8 character set. The path expression '<redacted>'."),
        (3616, "Longitude -181.5 is out of range in function st_x. It must be within (-180.000000, 180.000000].",
               "Longitude <redacted>"),
        (3732, "A parameter of function st_distance_sphere contains a geometry with latitude 91.5, which is out of range.",
               "A parameter of function st_distance_sphere contains a geometry with latitude <redacted>"),
        (3854, "Cannot convert string 'secret' from utf8mb4 to binary",         "Cannot convert string '<redacted>' from utf8mb4 to binary"),
        (1432, "Can't create federated table. The data source connection string 'mysql://u:secret@h' is not in the correct format",
               "<redacted>"),
        // Values assigned to system variables.
        (1115, "Unknown character set: 'secret'",                               "Unknown character set: '<redacted>'"),
        (1273, "Unknown collation: 'secret'",                                   "Unknown collation: '<redacted>'"),
        (1286, "Unknown storage engine 'secret'",                               "Unknown storage engine '<redacted>'"),
        (1407, "Bad SQLSTATE: 'secret'",                                        "Bad SQLSTATE: '<redacted>'"),
        (1767, "The system variable @@SESSION.GTID_NEXT has the value secret, which is not listed in @@SESSION.GTID_NEXT_LIST.",
               "<redacted>"),
        (1772, "Malformed GTID set specification 'secret'.",                    "Malformed GTID set specification '<redacted>'."),
        (1774, "Malformed GTID specification 'secret'.",                        "Malformed GTID specification '<redacted>'."),
        (1790, "GTID_NEXT cannot be changed by a client that owns a GTID. The client owns secret.", "<redacted>"),
        (1791, "Unknown EXPLAIN format name: 'secret'",                         "Unknown EXPLAIN format name: '<redacted>'"),
        (1800, "Unknown ALGORITHM 'secret'",                                    "Unknown ALGORITHM '<redacted>'"),
        (1801, "Unknown LOCK type 'secret'",                                    "Unknown LOCK type '<redacted>'"),
        (3136, "Version token mismatch for secret. Correct value secret",       "<redacted>"),
        (3564, "Duplicate option key 'secret' in funtion 'st_geomfromtext'.",   "Duplicate option key '<redacted>'."),
        (3701, "Value for log_error_services got confusing at or around \"secret\".", "Value for log_error_services got confusing at or around \"<redacted>\"."),
        (3935, "Invalid character set 'secret' was specified.",                 "Invalid character set '<redacted>' was specified."),
        // The statement's text.
        (1064, "You have an error in your SQL syntax; check the manual near 'FORM t WHERE a = 'secret'' at line 1",
               "You have an error in your SQL syntax; check the manual near 'FORM<redacted>' at line 1"),
        (1064, "… near 'FORM' at line 1",                                       "… near 'FORM' at line 1"),
        (1064, "… near '' at line 1",                                           "… near '' at line 1"),
        (1064, "… near 'secret' AND b = 2' at line 1",                          "… near '<redacted>' at line 1"),
        (1064, "… bei 'FORM t' in Zeile 1",                                     "… bei '<redacted>' in Zeile 1"),
        // The catch-all, proxies, servers not known here.
        (1105, "XPATH syntax error: '~secret'",                                 "XPATH syntax error: '<redacted>'"),
        (1105, "Maximum writeset size exceeded",                                "Maximum writeset size exceeded"),
        (1062, r#"vttablet: Duplicate entry 'secret' for key 'k' (errno 1062) (sqlstate 23000): Sql: "insert into t values (:a)", BindVars: {a: "secret"}"#,
               "vttablet: Duplicate entry <redacted>"),
        (1317, "vttablet: rpc error: code = Aborted desc = gone during query: select secret", "vttablet: rpc error: code = Aborted desc = gone <redacted>"),
        (9007, "Write conflict, txnStartTS=1, key={tableID=4, handle=secret}",  "Write conflict, txnStartTS=1, <redacted>"),
        (8147, "LazyUniquenessCheckFailure: [kv:1062]Duplicate entry 'secret' for key 't.k'",
               "LazyUniquenessCheckFailure: [kv:1062]Duplicate entry '<redacted>'"),
        (8028, "Information schema is changed",                                 "Information schema is changed"),
        (6138, "Data cannot be converted to a valid vector: 'secret'",          "Data cannot be converted to a valid vector: '<redacted>'"),
    ];
    for (code, raw, expected) in table {
        assert_eq!(message(code, raw), expected, "{code}: {raw}");
    }
}

#[test]
fn a_message_without_values_is_as_the_server_sent_it() {
    let table = [
        (1213, "Deadlock found when trying to get lock; try restarting transaction"),
        (1045, "Access denied for user 'u'@'h' (using password: YES)"),
        (1048, "Column 'c' cannot be null"),
        (1054, "Unknown column 'c' in 'WHERE'"),
        (1146, "Table 'd.t' doesn't exist"),
        (1264, "Out of range value for column 'c' at row 1"),
        (1406, "Data too long for column 'c' at row 1"),
        (
            1451,
            "Cannot delete or update a parent row: a foreign key constraint fails (`d`.`c`, CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `p` (`b`))",
        ),
        (1644, "'a trigger' wants to say this"),
        (3819, "Check constraint 'chk' is violated."),
        (4025, "CONSTRAINT `chk` failed for `d`.`t`"),
    ];
    for (code, raw) in table {
        assert_eq!(message(code, raw), raw, "{code}");
    }
}

#[test]
fn what_a_terminal_would_obey_is_spelled_out() {
    let raw = "say \u{1b}[2J\u{7}\0\u{9b}1m twice,\n\ton two lines";
    assert_eq!(message(1644, raw), "say \\u{1b}[2J\\u{7}\\u{0}\\u{9b}1m twice,\n\ton two lines");
}

#[test]
fn a_message_has_an_end() {
    for (code, raw) in [(1644, "é".repeat(1 << 20)), (1062, format!("Duplicate entry '{}' for key 'k'", "v".repeat(1 << 20)))] {
        let shown = message(code, &raw);
        assert!(shown.len() <= 4096 && !shown.contains("vvvv"), "{code}: {} bytes", shown.len());
    }
    assert!(message(1644, &"\0".repeat(1 << 20)).len() <= 4096 * "\\u{0}".len());
}

/// Each format that carries a value, as the two servers send it. `{v}` is the value.
const FORMATS: [(u16, &str); 41] = [
    (1115, "Unknown character set: '{v}'"),
    (1273, "Unknown collation: '{v}'"),
    (1286, "Unknown storage engine '{v}'"),
    (1407, "Bad SQLSTATE: '{v}'"),
    (1767, "The system variable @@SESSION.GTID_NEXT has the value {v}, which is not listed in @@SESSION.GTID_NEXT_LIST."),
    (1772, "Malformed GTID set specification '{v}'."),
    (1774, "Malformed GTID specification '{v}'."),
    (1791, "Unknown EXPLAIN format name: '{v}'"),
    (3136, "Version token mismatch for {v}. Correct value {v}"),
    (3701, "Value for log_error_services got confusing at or around \"{v}\"."),
    (1062, "Duplicate entry '{v}' for key 'k'"),
    (1062, "Duplicate entry '{v}' for key 't.k'"),
    (1062, "Doppelter Eintrag '{v}' für Schlüssel 'k'"),
    (1569, "ALTER TABLE causes auto_increment resequencing, resulting in duplicate entry '{v}' for key 'k'"),
    (1586, "Duplicate entry '{v}' for key 't.k'"),
    (1557, "Upholding foreign key constraints for table 't', entry '{v}', key 1 would lead to a duplicate entry"),
    (1761, "Foreign key constraint for table 't', record '{v}' would lead to a duplicate entry in table 'c', key 'k'"),
    (1762, "Foreign key constraint for table 't', record '{v}' would lead to a duplicate entry in a child table"),
    (1231, "Variable 'sql_mode' can't be set to the value of '{v}'"),
    (1292, "Truncated incorrect DOUBLE value: '{v}'"),
    (1292, "Incorrect datetime value: '{v}' for column 'c' at row 1"),
    (1292, "Incorrect datetime value: '{v}' for column `d`.`t`.`c` at row 1"),
    (1298, "Unknown or incorrect time zone: '{v}'"),
    (1300, "Invalid utf8mb4 character string: '{v}'"),
    (1366, "Incorrect integer value: '{v}' for column 'c' at row 1"),
    (1366, "Incorrect integer value: '{v}' for column `d`.`t`.`c` at row 1"),
    (1367, "Illegal double '{v}' value found during parsing"),
    (1411, "Incorrect datetime value: '{v}' for function str_to_date"),
    (1432, "Can't create federated table. The data source connection string '{v}' is not in the correct format"),
    (1470, "String '{v}' is too long for user name (should be no longer than 32)"),
    (1525, "Incorrect DATE value: '{v}'"),
    (1526, "Table has no partition for value {v}"),
    (1690, "BIGINT UNSIGNED value is out of range in '(`d`.`t`.`c` - {v})'"),
    (1741, "Key value '{v}' was not found in table 'd.t'"),
    (1918, "Encountered illegal value '{v}' when converting to DOUBLE"),
    (3057, "Incorrect user-level lock name '{v}'."),
    (3148, "The path expression '{v}' is encoded in character set 'latin1'."),
    (3559, "Invalid value '{v}' for option 'axis-order' in function 'st_geomfromtext'."),
    (3854, "Cannot convert string '{v}' from utf8mb4 to binary"),
    (6138, "Data cannot be converted to a valid vector: '{v}'"),
    (1105, "XPATH syntax error: '{v}'"),
];

fn no_format_leaks(value: &str) -> Result<(), TestCaseError> {
    for (code, format) in FORMATS {
        let fixed = format.replace("{v}", "<redacted>");
        if !fixed.contains(value) {
            let shown = message(code, &format.replace("{v}", value)).into_owned();
            prop_assert!(!shown.contains(value), "{code}: {value:?} is in {shown:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_value_is_shown(value in "\\PC{4,40}") {
        no_format_leaks(&value)?;
    }

    #[test]
    fn no_value_that_imitates_a_message_is_shown(
        words in proptest::collection::vec(
            prop::sample::select(vec![
                "' for key '", "' for column '", "' for column `", "' at row 1", "', key ", "' would lead to a duplicate entry",
                "' for function ", " near '", "' at line 1", ": Sql: ", " key={", "'", "\"", "`", "\n", "secret", "hunter2",
            ]),
            1..6,
        )
    ) {
        let value = format!("swordfish{}swordfish", words.concat());
        for (code, format) in FORMATS {
            let shown = message(code, &format.replace("{v}", &value)).into_owned();
            for secret in ["swordfish", "secret", "hunter2"] {
                prop_assert!(!shown.contains(secret), "{code}: {value:?} is in {shown:?}");
            }
        }
    }

    #[test]
    fn no_code_and_no_text_can_panic(code: u16, raw: String) {
        let shown = message(code, &raw);
        prop_assert!(!shown.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{code}: {shown:?}");
    }

    #[test]
    fn no_length_can_panic(code: u16, raw in "\\PC{1000,1500}") {
        message(code, &raw);
    }

    #[test]
    fn a_literal_of_the_statement_is_not_shown(before in "[A-Z]{0,8}", literal in "[a-z0-9]{8,16}") {
        let raw = format!("You have an error near '{before} '{literal}'' at line 1");
        prop_assert!(!message(1064, &raw).contains(&literal));
    }
}
