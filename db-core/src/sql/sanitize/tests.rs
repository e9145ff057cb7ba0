//! The texts, as a table, and properties

use proptest::prelude::*;

use super::*;

fn shown(sql: &str) -> String {
    QueryText(sql).to_string()
}

#[test]
fn values_go_and_names_stay() {
    for (sql, expected) in [
        ("", ""),
        ("SELECT * FROM account WHERE id = ?", "SELECT * FROM account WHERE id = ?"),
        ("SELECT :id, @x, @@sql_mode", "SELECT :id, @x, @@sql_mode"),
        ("UPDATE `my table`.t SET a = 'secret', b = 7 WHERE c < -1.5e-3", "UPDATE `my table`.t SET a = ?, b = ? WHERE c < -?-?"),
        ("SELECT 'it''s', \"a \"\"b\"\" c\", ''", "SELECT ?, ?, ?"),
        ("SELECT 0xDEAD, x'41', B'01', N'text', _utf8mb4'text', DATE '2020-01-01'", "SELECT ?, x?, B?, N?, _utf8mb4?, DATE ?"),
        ("SELECT t1.a2 FROM t1", "SELECT t1.a2 FROM t1"),
        ("SELECT größe FROM `名``前`", "SELECT größe FROM `名``前`"),
        ("INSERT INTO t VALUES (1, 'a'), (2, 'b'); COMMIT", "INSERT INTO t VALUES (?, ?), (?, ?); COMMIT"),
        ("SELECT 'a\\b', 1", "SELECT ?, ?"),
        ("SELECT 1 -- secret's\nFROM t # \"secret\n, u /* secret ' */ WHERE a--1", "SELECT ?  \nFROM t  \n, u   WHERE a--?"),
        ("SELECT 1 --", "SELECT ?  "),
        ("SELECT (a->'$.b')", "SELECT (a->?)"),
    ] {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

/// Where it depends on the session's mode, or on the server, what a value is, nothing more is shown.
#[test]
fn what_is_not_clear_goes_with_all_that_follows() {
    for (sql, expected) in [
        ("SELECT 'a\\' , secret , 'b'", "SELECT …"),
        ("SELECT 'a\\\\', 'secret'", "SELECT …"),
        ("SELECT \"a\\\" , secret , \"b\"", "SELECT …"),
        ("SELECT 'secret", "SELECT …"),
        ("SELECT `secret", "SELECT …"),
        ("SELECT 1 /* secret", "SELECT ? …"),
        ("SELECT /*! 'a*/ secret' */ 1", "SELECT …"),
        ("SELECT /*M!100000 'a*/ secret' */ 1", "SELECT …"),
        ("SELECT /*+ SET_VAR(a = 'a*/ secret') */ 1", "SELECT …"),
        ("CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS $$ secret $$", "CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS …"),
        ("SELECT q'[it's secret]'", "SELECT …"),
        ("SELECT --\u{1}it's secret\n, 1", "SELECT …"),
        ("SELECT # it's\0secret\n, 1", "SELECT …"),
        ("SELECT \0secret", "SELECT …"),
        ("SELECT \\N, secret", "SELECT …"),
    ] {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

#[test]
fn a_long_text_is_cut() {
    let long = format!("SELECT a{}", ", a".repeat(10_000));
    let shown = shown(&long);
    assert!(shown.ends_with('…') && long.starts_with(shown.trim_end_matches('…')), "{shown}");
    assert!((4000..=LONGEST + '…'.len_utf8()).contains(&shown.len()), "{}", shown.len());
}

/// A literal, or a comment, full of the secret `Z`, for a session whose mode has backslash escapes, or has not.
fn hidden(escapes: bool) -> impl Strategy<Value = String> {
    let text =
        prop::collection::vec(prop::sample::select(vec!["Z", "'", "\"", "`", "\\", "--", "/*", "#", ";", " ", "?", "é", "\n"]), 0..8);
    (text, 0..5).prop_map(move |(pieces, form)| {
        let text = format!("Z{}Z", pieces.concat());
        let quoted = |quote: &str| {
            let text = if escapes { text.replace('\\', "\\\\") } else { text.clone() };
            // Both ways to write a quote inside quotes are in use where there are escapes.
            let doubled = if escapes && text.len() % 2 == 0 { format!("\\{quote}") } else { quote.repeat(2) };
            format!("{quote}{}{quote}", text.replace(quote, &doubled))
        };
        match form {
            0 => quoted("'"),
            1 => quoted("\""),
            2 => format!("-- {}\n", text.replace('\n', " ")),
            3 => format!("#{}\n", text.replace('\n', " ")),
            _ => format!("/* {} */", text.replace("*/", "").replace('/', "")),
        }
    })
}

fn plain() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "SELECT ",
        "a",
        " = ",
        "?",
        "(",
        ")",
        ", ",
        " FROM `t`",
        " 12 ",
        ".",
        // With spaces, since two of them together would begin a comment, in which nothing is a literal.
        " - ",
        " / ",
        " * ",
        "\n",
        ";",
        " x",
        "@v ",
    ])
    .prop_map(str::to_owned)
}

fn statement(escapes: bool) -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![2 => plain(), 1 => hidden(escapes)], 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_literal_is_shown_where_backslashes_escape(sql in statement(true)) {
        prop_assert!(!shown(&sql).contains('Z'), "{sql}\n{}", shown(&sql));
    }

    #[test]
    fn no_literal_is_shown_where_they_do_not(sql in statement(false)) {
        prop_assert!(!shown(&sql).contains('Z'), "{sql}\n{}", shown(&sql));
    }

    #[test]
    fn what_is_shown_of_any_text_has_nothing_more_to_hide(sql in "(\\PC|['\"`\\\\#/*!;x1-]|\n){0,20}") {
        let text = shown(&sql);
        prop_assert_eq!(shown(&text), text);
    }
}
